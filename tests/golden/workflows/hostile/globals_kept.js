export const meta = { name: 'globals-kept', description: 'no name of the API can be replaced' }
// {"returned": ["TypeError", "TypeError", "TypeError", "TypeError", "TypeError", "TypeError", "TypeError", "TypeError", "TypeError", "TypeError"]}
const ways = [
  () => { agent = 1 },
  () => { globalThis.agent = 1 },
  () => { delete globalThis.log },
  () => { budget.total = 1 },
  () => { budget.spent = () => 0 },
  () => { agent.lastError = 1 },
  () => { meta.name = 'x' },
  () => { console.log = 1 },
  () => { Object.getPrototypeOf(agent('x')).then = 1 },
  () => { Object.defineProperty(globalThis, 'phase', { value: 1 }) },
]
return ways.map((way) => { try { way(); return 'changed' } catch (error) { return error.name } })
