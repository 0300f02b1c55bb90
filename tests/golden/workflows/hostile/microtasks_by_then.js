export const meta = { name: 'microtasks-by-then', description: 'promises that chain for ever' }
// {"failed": ["script_timeout"], "limits": {"drain_cpu_seconds": 0.4}}
const again = () => { Promise.resolve().then(again) }
again()
await new Promise(() => {})
