export const meta = { name: 'memory-by-promise-chain', description: 'a chain of promises that fills the heap where nobody is told, so that nothing may be left to wait for' }
// {"failed": ["script_out_of_memory", "script_timeout"], "waits": true}
const again = () => Promise.resolve().then(again)
await again()
