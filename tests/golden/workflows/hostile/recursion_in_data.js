export const meta = { name: 'recursion-in-data', description: 'data that is nested too deeply for a result' }
// {"threw": "the result cannot be JSON: nesting deeper than 200"}
let list = []
for (let i = 0; i < 100000; i++) list = [list]
return list
