export const meta = { name: 'poison-prototypes', description: 'prototypes that are replaced under the prelude' }
// {"returned": {"one": "one", "two": ["two", "three"], "label": "limit"}}
for (const name of ['value', 'thrown', 'reason', 'spent', 'scope', 'get', 'set', 'then_', 'fields', 'args', 'meta']) {
  Object.prototype[name] = () => { throw new Error('poison') }
}
const table = [
  [Array.prototype, ['map', 'join', 'push', 'slice', Symbol.iterator]],
  [String.prototype, ['slice', 'trim', 'charCodeAt', 'toWellFormed', 'replace']],
  [Function.prototype, ['call', 'apply', 'bind']],
  [Map.prototype, ['get', 'set', 'has']],
  [WeakSet.prototype, ['has', 'add']],
  [RegExp.prototype, ['exec', 'test']],
  [JSON, ['parse', 'stringify']],
  [Reflect, ['apply', 'ownKeys', 'defineProperty', 'getPrototypeOf', 'construct']],
  [Object, ['keys', 'freeze', 'hasOwn', 'assign', 'defineProperty']],
  [Array, ['isArray', 'from', 'of']],
  [Number, ['isSafeInteger', 'isFinite']],
  [Error, ['isError']],
]
for (let k = 0; k < table.length; k++) {
  const holder = table[k][0], names = table[k][1]
  for (let i = 0; i < names.length; i++) holder[names[i]] = () => { throw new Error('poison') }
}
for (const name in Object.prototype) delete Object.prototype[name]
const one = await agent('one', { schema: { type: 'object' }, tools: ['Read'] })
const two = await parallel([() => agent('two'), () => agent('three')])
await agent('refused', { label: 'r' }).then(() => 0, () => 0)
return { one, two, label: agent.lastError('r') }
