export const meta = { name: 'items-too-many', description: 'a group of too many items' }
// {"threw": "RangeError: parallel() takes at most 4096 items"}
return await parallel(Array(1e6).fill(() => agent('x')))
