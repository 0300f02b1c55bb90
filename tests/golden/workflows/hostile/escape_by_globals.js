export const meta = { name: 'escape-by-globals', description: 'what no script may have' }
// {"returned": []}
const names = ['fetch', 'process', 'Buffer', 'require', 'module', 'performance', 'crypto', 'WebAssembly', 'Worker',
  'SharedArrayBuffer', 'Atomics', 'navigator', 'std', 'os', 'bjson', 'WeakRef', 'FinalizationRegistry', 'gc', 'Intl',
  'queueMicrotask', 'InternalError', 'DOMException', 'scriptArgs', 'print', 'loadScript', 'Deno', 'Bun', 'window', 'self']
return names.filter((name) => name in globalThis)
