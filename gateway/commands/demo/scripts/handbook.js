export const meta = { name: 'handbook', description: 'Two chapters side by side, then what comes last' }
const chapters = await parallel([1, 2].map((number) => () => agent(`Write chapter ${number}`, { label: `chapter ${number}` })))
const last = await agent('Write the index, and take your time', { label: 'index' })
return [...chapters, last]
