export const meta = { name: 'endless', description: 'A loop that never ends' }
for (;;);
