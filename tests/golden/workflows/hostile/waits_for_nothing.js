export const meta = { name: 'waits-for-nothing', description: 'a promise that nothing can resolve' }
// {"waits": true}
await new Promise(() => {})
