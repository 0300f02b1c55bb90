export const meta = { name: 'memory-by-buffer', description: 'one buffer that is too large' }
// {"failed": ["script_out_of_memory"]}
return new ArrayBuffer(1e9)
