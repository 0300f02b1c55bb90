export const meta = { name: 'memory-by-map', description: 'a map without end' }
// {"failed": ["script_out_of_memory"], "limits": {"heap_bytes": 16777216}}
const held = new Map()
for (let i = 0; ; i++) held.set(i, [i])
