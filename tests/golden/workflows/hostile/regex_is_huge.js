export const meta = { name: 'regex-is-huge', description: 'a regular expression that is expensive to run' }
// {"failed": ["script_timeout"], "limits": {"drain_cpu_seconds": 0.4}}
return new RegExp('a{1,1000}'.repeat(10000)).test('a'.repeat(100000))
