export const meta = { name: 'trap-in-log', description: 'messages that cannot be shown' }
// {"returned": null}
log({ toJSON() { throw 1 }, toString() { throw 2 } })
log(Object.create(null))
log(new Proxy({}, { get() { throw 1 }, ownKeys() { throw 2 } }))
log(Symbol('s'))
