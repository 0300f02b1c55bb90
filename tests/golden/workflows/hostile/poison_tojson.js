export const meta = { name: 'poison-tojson', description: 'a toJSON on every prototype' }
// {"returned": "P"}
Object.prototype.toJSON = () => 'P'
Array.prototype.toJSON = () => 'P'
String.prototype.toJSON = () => 'P'
await agent('x', { tools: ['Read', 'Grep'], schema: { type: 'object', toJSON: undefined } }).catch((e) => e.message)
log({ a: 1 })
return { a: 1 }
