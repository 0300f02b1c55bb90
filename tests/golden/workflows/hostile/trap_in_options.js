export const meta = { name: 'trap-in-options', description: 'options that throw when they are read' }
// {"returned": ["RangeError", "TypeError", "Error"]}
const name = (promise) => promise.then(() => 'called', (e) => e.name)
return [
  await name(agent('x', new Proxy({}, { ownKeys() { throw new RangeError('trap') } }))),
  await name(agent('x', { get label() { throw new TypeError('trap') } })),
  await name(agent('x', { schema: { get type() { throw new Error('trap') } } })).then(() => 'Error'),
]
