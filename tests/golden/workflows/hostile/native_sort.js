export const meta = { name: 'native-sort', description: 'a native sort that takes seconds' }
// {"failed": ["script_killed", "script_timeout"], "limits": {"drain_cpu_seconds": 0.4, "heartbeat_seconds": 0.8}}
const list = []
for (let i = 0; i < 600000; i++) list.push(i % 1000 + 0.5)
for (;;) list.sort()
