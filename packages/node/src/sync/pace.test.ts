import { describe, expect, test } from 'vitest'
import type { Clock } from '@weightless/core'
import { createPace, reserve } from './pace.ts'

describe('the pace of the sync', () => {
  test('spaces requests by their size, and saves up no time that nobody used', () => {
    const rate = { bytesPerSecond: 1000 }
    const first = reserve(0, { nowMs: 5_000, sizeBytes: 500, ...rate })
    expect(first).toEqual({ atMs: 5_000, nextFreeMs: 5_500 })
    expect(reserve(first.nextFreeMs, { nowMs: 5_100, sizeBytes: 500, ...rate })).toEqual({
      atMs: 5_500,
      nextFreeMs: 6_000,
    })
    expect(reserve(first.nextFreeMs, { nowMs: 9_000, sizeBytes: 500, ...rate }).atMs).toBe(9_000)
  })

  test('lets users go first, but not for ever', async () => {
    // Time passes only while somebody sleeps.
    let nowMs = 0
    const clock: Clock = {
      nowMs: () => nowMs,
      sleep: async (ms) => void (nowMs += ms),
      deadline: () => new AbortController().signal,
    }
    const { signal } = new AbortController()
    let asked = 0
    const yields = createPace({ bytesPerSecond: 1e9 }, { clock, isBusy: () => ++asked < 3 })
    await yields.turn(1, { signal })
    expect([asked, nowMs]).toEqual([3, 20])
    const stubborn = createPace({ bytesPerSecond: 1e9 }, { clock, isBusy: () => true })
    await stubborn.turn(1, { signal })
    expect(nowMs).toBe(270)
  })
})
