export const meta = { name: 'regex-backtracks', description: 'a regular expression with exponential time' }
// {"failed": ["script_timeout"], "limits": {"drain_cpu_seconds": 0.4}}
return /^(a+)+$/.test('a'.repeat(40) + '!')
