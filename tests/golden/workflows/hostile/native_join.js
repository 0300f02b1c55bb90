export const meta = { name: 'native-join', description: 'an array that is joined for ever' }
// {"failed": ["script_killed", "script_timeout"], "limits": {"drain_cpu_seconds": 0.4, "heartbeat_seconds": 0.8}}
return Array(4294967295).join('').length
