export const meta = { name: 'native-fill', description: 'a buffer that is filled again and again' }
// {"failed": ["script_killed", "script_timeout"], "limits": {"drain_cpu_seconds": 0.4, "heartbeat_seconds": 0.8}}
const bytes = new Uint8Array(4e7)
for (;;) bytes.fill(1)
