export const meta = { name: 'memory-by-results', description: 'results that are all kept' }
// {"failed": ["script_out_of_memory"], "limits": {"heap_bytes": 8388608}}
const held = []
for (;;) held.push([await agent('x'.repeat(150000)), held.length].join())
