export const meta = { name: 'memory-by-promises', description: 'promises that nobody settles' }
// {"failed": ["script_out_of_memory"], "limits": {"heap_bytes": 16777216}}
const held = []
for (;;) held.push(new Promise(() => {}))
