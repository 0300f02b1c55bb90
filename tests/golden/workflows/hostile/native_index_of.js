export const meta = { name: 'native-index-of', description: 'a search that cannot be interrupted' }
// {"failed": ["script_killed", "script_timeout"], "limits": {"drain_cpu_seconds": 0.4, "heartbeat_seconds": 0.8}}
return 'a'.repeat(4e6).indexOf('a'.repeat(2e6) + 'b')
