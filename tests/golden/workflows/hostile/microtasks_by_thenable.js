export const meta = { name: 'microtasks-by-thenable', description: 'a thenable that resolves to itself' }
// {"failed": ["script_timeout"], "limits": {"drain_cpu_seconds": 0.4}}
const self = { then(resolve) { resolve(self) } }
await self
