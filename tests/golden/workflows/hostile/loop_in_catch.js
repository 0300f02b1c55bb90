export const meta = { name: 'loop-in-catch', description: 'a loop that tries to catch its own end' }
// {"failed": ["script_timeout"], "limits": {"drain_cpu_seconds": 0.4}}
for (;;) {
  try {
    for (;;);
  } catch {
    log('caught')
  } finally {
    await agent('after the end')
  }
}
