export const meta = { name: 'trap-calls-agents', description: 'options and results that start agents while they are read' }
// {"returned": {"in": 1}}
const got = await agent('outer', { get label() { agent('inner'); return 'l' } })
return { toJSON() { agent('late'); return { in: 1 } } }
