export const meta = { name: 'memory-in-thunk', description: 'a thunk that fills the heap, which is no null slot' }
// {"failed": ["script_out_of_memory"]}
return await parallel([() => agent('first'), () => new ArrayBuffer(1e9)])
