export const meta = { name: 'native-reverse', description: 'an array-like that is turned around for ever' }
// {"failed": ["script_killed", "script_timeout"], "limits": {"drain_cpu_seconds": 0.4, "heartbeat_seconds": 0.8}}
return Array.prototype.reverse.call({ length: 2 ** 53 - 1 })
