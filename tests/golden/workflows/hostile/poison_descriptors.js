export const meta = { name: 'poison-descriptors', description: 'descriptors that inherit a getter' }
// {"returned": "limit"}
Object.prototype.get = () => 'poison'
Object.prototype.set = () => 'poison'
Object.prototype.writable = true
const error = await agent('refused').catch((e) => e)
return error.code
