export const meta = { name: 'recursion-by-parallel', description: 'groups that nest without end' }
// {"returned": "ended"}
const down = () => parallel([down])
await down()
return 'ended'
