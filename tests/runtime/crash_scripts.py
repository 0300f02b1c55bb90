"""Scripts of many shapes whose result does not depend on who is first. No test here."""

CHILD = """
export const meta = {name: 'child', description: 'Two in a row', phases: [{title: 'inside'}]}
phase('inside')
if (args.bad) throw new Error('the child was told to')
const first = await agent(`child first ${args.of}`)
log(`the child has ${first}`)
return [first, await agent(`child second ${args.of} after ${first}`)]
"""

FAN = """
export const meta = {name: 'fan', description: 'Many at once', phases: [{title: 'look'}, {title: 'sum'}]}
phase('look')
const found = await parallel(Array.from({length: 8}, (_, i) => () => agent(`look at ${i}`)))
log(`${found.length} found`)
phase('sum')
return {found, sum: await agent(`sum of ${found.join()}`)}
"""

PIPELINE = """
export const meta = {name: 'pipeline', description: 'Items through stages'}
const done = await pipeline(['a', 'b', 'c', 'd'],
  item => agent(`read ${item}`, {phase: 'read'}),
  (text, item) => agent(`judge ${item}: ${text}`, {phase: 'judge'}),
  (verdict, item, index) => ({item, index, verdict}))
log(`done with ${done.length}`)
return done
"""

ALL = """
export const meta = {name: 'all', description: 'Promises of its own'}
const both = await Promise.all([agent('one'), agent('two'), agent('three'), (async () => {
  const a = await agent('four'); return agent(`five after ${a}`)
})()])
const large = await agent('a large one')
const last = await Promise.allSettled([agent('six'), agent('seven throws'), agent('eight')])
return {both, large: large.length, last: last.map(each => each.status + (each.value ?? each.reason.message))}
"""

LOOP = """
export const meta = {name: 'loop', description: 'One after the other'}
let text = 'begin'
for (let turn = 0; turn < 9; turn++) {
  phase(`turn ${turn}`)
  text = await agent(`go on from ${text}`)
  log(`turn ${turn}: ${text} (${budget.spent() > 0})`)
}
return text
"""

NESTED = """
export const meta = {name: 'nested', description: 'Workflows within'}
const [left, right] = await parallel([() => workflow('child', {of: 'left'}), () => workflow('child', {of: 'right'})])
let refused = ''
try { await workflow('child', {bad: true}) } catch (error) { refused = error.message }
try { await workflow('nowhere') } catch (error) { refused += ' nowhere' }
const after = await workflow('child', {of: 'after'})
return {left, right, refused, after, end: await agent('end')}
"""

TIMERS = """
export const meta = {name: 'timers', description: 'Waits'}
const wait = ms => new Promise(done => setTimeout(() => done(ms), ms))
const never = setTimeout(() => log('never'), 600000)
const both = await Promise.all([wait(5), agent('beside a timer'), wait(1).then(() => agent('behind a timer'))])
clearTimeout(never)
const fan = await parallel([2, 4, 6].map(ms => async () => { await wait(ms); return agent(`after ${ms}`) }))
await wait(3)
return {both, fan, end: await agent('end')}
"""

THROWING = """
export const meta = {name: 'throwing', description: 'What fails'}
const fan = await parallel([() => agent('good'), () => agent('this throws'), () => agent('this is null'),
  () => { throw new Error('at once') }, () => agent('none', {isolation: 'worktree'})])
const seen = []
for (const prompt of ['it throws again', 'a null again', 'fine']) {
  try { seen.push(await agent(prompt, {label: prompt})) } catch (error) { seen.push(`${error.code}: ${error.message}`) }
  seen.push(agent.lastError(prompt) ?? 'no error')
}
return {fan, seen, end: await agent('end')}
"""

SHAPES = {
    "fan": FAN,
    "pipeline": PIPELINE,
    "all": ALL,
    "loop": LOOP,
    "nested": NESTED,
    "timers": TIMERS,
    "throwing": THROWING,
}
