export const meta = { name: 'half-characters', description: 'texts that are not well-formed Unicode' }
// {"returned": "\ufffd"}
phase('\ud800')
log('\udc00')
await agent('\ud83d', { label: '\ud83d', schema: { type: 'object', title: '\ud800' } })
return '\ud800'
