export const meta = { name: 'memory-by-text', description: 'a text that doubles' }
// {"threw": "InternalError: string too long"}
let text = 'x'
for (;;) text += text
