export const meta = { name: 'escape-by-promise', description: 'the constructor of a promise of the API' }
// {"returned": ["EvalError", "EvalError", true]}
const promise = agent('x')
const tried = (way) => { try { return String(way()) } catch (e) { return e.name } }
return [
  tried(() => promise.constructor.constructor('return this')()),
  tried(() => promise.then.constructor('return this')()),
  promise instanceof Promise,
]
