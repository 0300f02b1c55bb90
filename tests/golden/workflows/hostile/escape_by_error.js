export const meta = { name: 'escape-by-error', description: 'the constructor of an error that the host made' }
// {"returned": ["EvalError", "EvalError", true, true]}
const error = await agent('refused').catch((e) => e)
const tried = (way) => { try { return String(way()) } catch (e) { return e.name } }
return [
  tried(() => error.constructor.constructor('return this')()),
  tried(() => error.fields.constructor.constructor('return this')()),
  error instanceof Error,
  Object.getPrototypeOf(Object.getPrototypeOf(error.fields)) === null,
]
