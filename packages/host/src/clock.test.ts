import { expect, test, vi } from 'vitest'
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

test('a machine whose clock is set back by an hour does not take the process back', () => {
  const before = systemClock.nowMs()
  expect(Math.abs(before - Date.now())).toBeLessThan(60_000)
  const setBack = vi.spyOn(Date, 'now').mockReturnValue(before - 3_600_000)
  try {
    expect(systemClock.nowMs()).toBeGreaterThanOrEqual(before)
  } finally {
    setBack.mockRestore()
  }
})
