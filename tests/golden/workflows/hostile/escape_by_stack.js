export const meta = { name: 'escape-by-stack', description: 'the functions behind a stack trace' }
// {"returned": ["TypeError", "string", "string"]}
const tried = []
try { Error.prepareStackTrace = (error, sites) => sites.map((site) => site.getFunction()) } catch (e) { tried.push(e.name) }
const target = {}
Error.captureStackTrace(target)
return [...tried, typeof new Error('x').stack, typeof target.stack]
