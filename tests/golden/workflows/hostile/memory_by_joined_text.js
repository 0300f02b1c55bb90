export const meta = { name: 'memory-by-joined-text', description: 'a text that is really written out' }
// {"failed": ["script_out_of_memory"]}
let text = 'xy'.repeat(1e6)
for (;;) text = [text, text].join('')
