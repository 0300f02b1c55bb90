export const meta = { name: 'proxy-list-is-endless', description: 'a result that says it has four billion items' }
// {"failed": ["script_killed", "script_timeout"], "limits": {"drain_cpu_seconds": 0.4, "heartbeat_seconds": 0.8}}
return new Proxy([], { get: (_, key) => (key === 'length' ? 2 ** 32 - 1 : 1) })
