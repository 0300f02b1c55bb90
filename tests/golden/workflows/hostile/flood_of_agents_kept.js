export const meta = { name: 'flood-of-agents-kept', description: 'agents that are kept' }
// {"failed": ["runaway_script", "script_timeout"], "limits": {"drain_cpu_seconds": 1.0, "heartbeat_seconds": 20.0}}
const held = []
for (;;) held.push(agent('x'))
