export const meta = { name: 'flood-of-log-text', description: 'a line of megabytes is cut' }
// {"returned": null}
for (let i = 0; i < 20; i++) log('x'.repeat(1e6))
