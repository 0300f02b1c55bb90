export const meta = { name: 'poison-setters', description: 'setters on the indices of every array' }
// {"returned": ["one", 2, null]}
Object.defineProperty(Array.prototype, '0', { set() { throw new Error('poison') }, configurable: true })
Object.defineProperty(Array.prototype, '1', { set() { throw new Error('poison') }, configurable: true })
Object.defineProperty(Object.prototype, 'value', { set() { throw new Error('poison') }, configurable: true })
const got = await parallel([() => agent('one'), () => 2, () => { throw 3 }])
delete Array.prototype[0]
delete Array.prototype[1]
return got
