export const meta = { name: 'flood-of-phases', description: 'phases without end' }
// {"failed": ["runaway_script"], "limits": {"drain_cpu_seconds": 1.0, "heartbeat_seconds": 20.0}}
for (let i = 0; ; i++) phase('phase ' + i)
