export const meta = { name: 'globals-deleted', description: 'every global that can be deleted is' }
// {"returned": {"one": ["one", null]}}
const own = Reflect.ownKeys(globalThis)
const erase = Reflect.deleteProperty
const all = globalThis
for (let i = 0; i < own.length; i++) erase(all, own[i])
const one = await parallel([() => agent('one'), () => { throw { a: 1 } }])
log({ a: 1 })
phase('two')
return { one }
