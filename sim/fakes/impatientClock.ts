import type { Clock } from '@weightless/core'
import { systemClock } from '@weightless/host'

/** Waits of two seconds pass at once, and the clock shows that they did; deadlines keep their length. */
export function impatientClock(): Clock {
  let skippedMs = 0
  return {
    ...systemClock,
    nowMs: () => systemClock.nowMs() + skippedMs,
    sleep: (ms, options) => {
      if (ms > 2_000) return systemClock.sleep(ms, options)
      skippedMs += ms
      return systemClock.sleep(0, options)
    },
  }
}
