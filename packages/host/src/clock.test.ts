import { expect, test } from 'vitest'
import { systemClock } from './clock.ts'

test('a sleep ends when it is aborted, with the reason, and leaves no timer or listener', async () => {
  const stop = new AbortController()
  const sleeping = systemClock.sleep(3_600_000, { signal: stop.signal })
  const reason = new Error('enough')
  stop.abort(reason)
  await expect(sleeping).rejects.toBe(reason)
  await expect(systemClock.sleep(0, { signal: stop.signal })).rejects.toBe(reason)
  await systemClock.sleep(1, {})
})

test('a deadline aborts with a TimeoutError', async () => {
  const signal = systemClock.deadline(1)
  await new Promise((resolve) => signal.addEventListener('abort', resolve))
  expect((signal.reason as Error).name).toBe('TimeoutError')
})
