export const meta = { name: 'trap-in-thrown', description: 'an error that throws when it is shown' }
// {"threw": "something that cannot be shown"}
throw { get message() { throw 1 }, get stack() { throw 2 }, toString() { throw 3 }, toJSON() { throw 4 } }
