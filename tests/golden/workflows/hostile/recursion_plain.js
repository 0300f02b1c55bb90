export const meta = { name: 'recursion-plain', description: 'a function that calls itself' }
// {"threw": "RangeError"}
const down = () => down() + 1
return down()
