export const meta = { name: 'items-say-too-many', description: 'an array that lies about its length' }
// {"threw": "RangeError: pipeline() takes at most 4096 items"}
return await pipeline(new Proxy([], { get: () => 2 ** 32 }), (x) => agent(x))
