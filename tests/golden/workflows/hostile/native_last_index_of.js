export const meta = { name: 'native-last-index-of', description: 'a sparse search' }
// {"failed": ["script_killed", "script_timeout"], "limits": {"drain_cpu_seconds": 0.4, "heartbeat_seconds": 0.8}}
return Array.prototype.lastIndexOf.call({ length: 2 ** 53 - 1 }, 1)
