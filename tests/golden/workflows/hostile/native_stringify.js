export const meta = { name: 'native-stringify', description: 'a native writer that is called for ever' }
// {"failed": ["script_killed", "script_timeout"], "limits": {"drain_cpu_seconds": 0.4, "heartbeat_seconds": 0.8}}
const wide = {}
for (let i = 0; i < 100000; i++) wide['k' + i] = i
for (;;) JSON.stringify(wide)
