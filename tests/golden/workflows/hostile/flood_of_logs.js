export const meta = { name: 'flood-of-logs', description: 'logs without end are dropped, and time ends them' }
// {"failed": ["script_timeout"], "limits": {"drain_cpu_seconds": 0.4}}
for (;;) log('again')
