export const meta = { name: 'recursion-in-tojson', description: 'a result that nests itself without end' }
// {"threw": "the result cannot be JSON: nesting deeper than 200"}
const node = () => ({ get inner() { return node() } })
return node()
