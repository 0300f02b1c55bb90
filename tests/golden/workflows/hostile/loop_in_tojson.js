export const meta = { name: 'loop-in-tojson', description: 'a result that loops when it is written' }
// {"failed": ["script_timeout"], "limits": {"drain_cpu_seconds": 0.4}}
return { toJSON() { for (;;); } }
