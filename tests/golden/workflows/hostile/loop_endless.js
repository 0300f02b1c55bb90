export const meta = { name: 'loop-endless', description: 'a loop that never waits' }
// {"failed": ["script_timeout"], "limits": {"drain_cpu_seconds": 0.4}}
for (;;);
