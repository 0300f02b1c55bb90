export const meta = { name: 'escape-by-code', description: 'code out of strings, by every way there is' }
// {"returned": ["EvalError", "EvalError", "EvalError", "EvalError", "EvalError", "EvalError", "EvalError", "EvalError", "EvalError", "undefined"]}
const ways = [
  () => eval('1'),
  () => (0, eval)('1'),
  () => new Function('return 1')(),
  () => (() => {}).constructor('return 1')(),
  () => (async () => {}).constructor('return 1'),
  () => (function* () {}).constructor('yield 1'),
  () => (async function* () {}).constructor('yield 1'),
  () => Reflect.construct(Function, ['return 1']),
  () => new (class extends Function {})('return 1'),
  () => Object.getPrototypeOf((async () => {}).constructor)('return 1'),
]
return ways.map((way) => { try { return String(way()) } catch (error) { return error.name } })
