export const meta = { name: 'loop-in-thunk', description: 'a thunk that loops' }
// {"failed": ["script_timeout"], "limits": {"drain_cpu_seconds": 0.4}}
await parallel([() => agent('first'), () => { for (;;); }])
