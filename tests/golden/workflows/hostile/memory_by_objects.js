export const meta = { name: 'memory-by-objects', description: 'objects without end' }
// {"failed": ["script_out_of_memory"], "limits": {"heap_bytes": 16777216}}
const held = []
for (;;) held.push({ at: held.length })
