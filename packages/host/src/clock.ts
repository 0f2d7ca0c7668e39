import type { Clock } from '@weightless/core'

/** The steady count of a process stands still while a laptop sleeps: from here on it was asleep, or set forward by a person. */
const AHEAD_MS_MAX = 1_000

/** The time of day that never goes back: a clock that is set back would make all that is timed wait for it. One that is ahead of
 *  the steady count is followed, because blocks and receipts carry this time. */
export function steadyTime(wallMs: () => number, monotonicMs: () => number): () => number {
  let offsetMs = wallMs() - monotonicMs()
  return () => {
    const aheadMs = wallMs() - monotonicMs() - offsetMs
    if (aheadMs > AHEAD_MS_MAX) offsetMs += aheadMs
    return Math.floor(monotonicMs() + offsetMs)
  }
}

export const systemClock: Clock = {
  nowMs: steadyTime(
    () => Date.now(),
    () => performance.now(),
  ),
  sleep: (ms, { signal }) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason)
        return
      }
      const stop = (): void => {
        clearTimeout(timer)
        reject(signal!.reason)
      }
      const timer = setTimeout(() => {
        signal?.removeEventListener('abort', stop)
        resolve()
      }, ms)
      signal?.addEventListener('abort', stop, { once: true })
    }),
  // Node refuses parts of a millisecond.
  deadline: (ms) => AbortSignal.timeout(Math.ceil(ms)),
}
