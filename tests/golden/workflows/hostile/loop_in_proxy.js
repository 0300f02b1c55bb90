export const meta = { name: 'loop-in-proxy', description: 'options that loop when they are listed' }
// {"failed": ["script_timeout"], "limits": {"drain_cpu_seconds": 0.4}}
await agent('x', new Proxy({}, { ownKeys() { for (;;); } }))
