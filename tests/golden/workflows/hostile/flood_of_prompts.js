export const meta = { name: 'flood-of-prompts', description: 'prompts of many megabytes in one go' }
// {"failed": ["runaway_script", "script_timeout"], "limits": {"drain_cpu_seconds": 1.0, "heartbeat_seconds": 20.0}}
const text = 'x'.repeat(500000)
for (;;) agent(text)
