export const meta = { name: 'microtasks-left-behind', description: 'leftovers that go on after the script has returned' }
// {"returned": "done", "limits": {"drain_cpu_seconds": 0.4}}
const on = async () => { for (;;) await null }
on()
return 'done'
