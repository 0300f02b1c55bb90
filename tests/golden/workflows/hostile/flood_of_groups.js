export const meta = { name: 'flood-of-groups', description: 'groups in groups' }
// {"failed": ["runaway_script", "script_timeout"], "limits": {"drain_cpu_seconds": 1.0, "heartbeat_seconds": 20.0}}
const many = Array(4096).fill(() => parallel(many))
return await parallel(many)
