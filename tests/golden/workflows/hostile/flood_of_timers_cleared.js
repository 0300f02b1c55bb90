export const meta = { name: 'flood-of-timers-cleared', description: 'timers that are set and cleared' }
// {"failed": ["runaway_script"], "limits": {"drain_cpu_seconds": 1.0, "heartbeat_seconds": 20.0}}
for (;;) clearTimeout(setTimeout(() => 0, 0))
