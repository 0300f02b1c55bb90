export const meta = { name: 'loop-in-timer', description: 'a timer that loops' }
// {"failed": ["script_timeout"], "limits": {"drain_cpu_seconds": 0.4}}
setTimeout(() => { for (;;); }, 0)
await new Promise(() => {})
