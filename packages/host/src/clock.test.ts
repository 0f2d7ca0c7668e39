import { expect, test, vi } from 'vitest'
import { steadyTime, systemClock } from './clock.ts'

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

test('a deadline in parts of a millisecond is none too early', async () => {
  const signal = systemClock.deadline(0.3125)
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

test('time goes on with the machine after its sleep, and never back', () => {
  const machine = { wallMs: 1_000_000, monotonicMs: 50 }
  const nowMs = steadyTime(
    () => machine.wallMs,
    () => machine.monotonicMs,
  )
  const pass = (wallMs: number, monotonicMs: number): number => {
    machine.wallMs += wallMs
    machine.monotonicMs += monotonicMs
    return nowMs()
  }
  expect(pass(10, 10)).toBe(1_000_010)
  // Small corrections of the wall clock are not followed: what is measured by differences stays exact.
  expect(pass(500, 10)).toBe(1_000_020)
  // Asleep for an hour: the steady count stood still.
  expect(pass(3_600_000, 0)).toBe(1_000_000 + 10 + 500 + 3_600_000)
  const before = nowMs()
  expect(pass(-7_200_000, 5)).toBe(before + 5)
})
