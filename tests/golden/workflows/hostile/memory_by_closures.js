export const meta = { name: 'memory-by-closures', description: 'closures that hold each other' }
// {"failed": ["script_out_of_memory"], "limits": {"heap_bytes": 16777216}}
let last = () => 0
for (;;) { const before = last; last = () => before() + 1 }
