export const meta = { name: 'trap-in-length', description: 'an array whose length throws' }
// {"threw": "Error: trap"}
return await parallel(new Proxy([], { get() { throw new Error('trap') } }))
