export const meta = { name: 'loop-in-log', description: 'a message that loops when it is written' }
// {"failed": ["script_timeout"], "limits": {"drain_cpu_seconds": 0.4}}
log({ toJSON() { for (;;); } })
