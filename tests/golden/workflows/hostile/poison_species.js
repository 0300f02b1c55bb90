export const meta = { name: 'poison-species', description: 'promises that are made by somebody else' }
// {"threw": "Error: poison"}
Object.defineProperty(Promise.prototype, 'constructor', { get() { throw new Error('poison') } })
return await agent('x')
