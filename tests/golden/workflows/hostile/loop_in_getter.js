export const meta = { name: 'loop-in-getter', description: 'an option that loops when it is read' }
// {"failed": ["script_timeout"], "limits": {"drain_cpu_seconds": 0.4}}
await agent('x', { get label() { for (;;); } })
