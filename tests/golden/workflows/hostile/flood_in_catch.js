export const meta = { name: 'flood-in-catch', description: 'a flood that catches what it is told' }
// {"failed": ["runaway_script"], "limits": {"drain_cpu_seconds": 1.0, "heartbeat_seconds": 20.0}}
for (;;) { try { phase('x') } catch { continue } }
