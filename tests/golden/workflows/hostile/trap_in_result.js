export const meta = { name: 'trap-in-result', description: 'a result that throws when it is read' }
// {"threw": "the result cannot be JSON: Error: trap at $.a.b"}
return { a: { get b() { throw new Error('trap') } } }
