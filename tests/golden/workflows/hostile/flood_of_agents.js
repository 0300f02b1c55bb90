export const meta = { name: 'flood-of-agents', description: 'agents that nobody awaits' }
// {"failed": ["runaway_script", "script_timeout"], "limits": {"drain_cpu_seconds": 1.0, "heartbeat_seconds": 20.0}}
for (;;) agent('x')
