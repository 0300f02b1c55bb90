export const meta = { name: 'async-generator-endless', description: 'a generator that is read for ever' }
// {"failed": ["script_timeout"], "limits": {"drain_cpu_seconds": 0.4}}
async function* numbers() { for (let i = 0; ; i++) yield i }
for await (const n of numbers()) if (n < 0) break
