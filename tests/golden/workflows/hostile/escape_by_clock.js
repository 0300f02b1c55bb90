export const meta = { name: 'escape-by-clock', description: 'clocks and dice, by every way there is' }
// {"returned": ["Error", "Error", "Error", "Error", "Error", "Error", "Error", "Error"]}
const ways = [
  () => Date.now(),
  () => new Date(),
  () => Date(),
  () => new Date(0).constructor.now(),
  () => Reflect.construct(Date, []),
  () => new (class extends Date {})(),
  () => Date.prototype.constructor(),
  () => Math.random(),
]
return ways.map((way) => { try { return String(way()) } catch (error) { return error.name } })
