export const meta = { name: 'memory-by-arrays', description: 'arrays without end, kept by the global object' }
// {"failed": ["script_out_of_memory"], "limits": {"heap_bytes": 16777216}}
globalThis.held = []
for (;;) held.push(new Array(1000).fill(1))
