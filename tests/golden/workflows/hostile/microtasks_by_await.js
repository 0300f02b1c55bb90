export const meta = { name: 'microtasks-by-await', description: 'awaits that never let go' }
// {"failed": ["script_timeout"], "limits": {"drain_cpu_seconds": 0.4}}
for (;;) await null
