export const meta = { name: 'flood-of-timers', description: 'timers without end' }
// {"threw": "RangeError: at most 64 timers"}
for (;;) setTimeout(() => 0, 600000)
