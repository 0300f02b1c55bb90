export const meta = { name: 'escape-by-import', description: 'modules of the engine' }
// {"returned": ["ReferenceError", "ReferenceError", "ReferenceError"]}
const names = ['std', 'os', 'qjs:bjson']
return await Promise.all(names.map((name) => import(name).then(() => 'loaded', (e) => e.name)))
