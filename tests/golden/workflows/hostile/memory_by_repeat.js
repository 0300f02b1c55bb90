export const meta = { name: 'memory-by-repeat', description: 'a text of a hundred megabytes' }
// {"failed": ["script_out_of_memory"]}
return 'x'.repeat(1e8).length
