export const meta = { name: 'regex-is-deep', description: 'a regular expression that is nested too deeply' }
// {"threw": "SyntaxError: stack overflow"}
new RegExp('(?:a|'.repeat(20000) + ')'.repeat(20000))
