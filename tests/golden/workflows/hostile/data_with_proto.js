export const meta = { name: 'data-with-proto', description: 'data whose keys are names of the language' }
// {"returned": [["__proto__", "constructor"], true, "polluted?"]}
const data = JSON.parse('{"__proto__": {"polluted": 1}, "constructor": 2}')
const got = await agent('mirror', { schema: { type: 'object', default: data } })
return [Object.keys(got), Object.getPrototypeOf(got) === Object.prototype, {}.polluted ?? 'polluted?']
