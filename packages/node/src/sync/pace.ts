import type { Clock } from '@weightless/core'

/** Keeps the sync below a rate, and behind the users of this node. */
export type Pace = {
  /** Resolves when `sizeBytes` may be fetched. */
  turn(sizeBytes: number, options: { readonly signal: AbortSignal }): Promise<void>
}

/** A quarter of what the slowest disk of a laptop writes; one lost gigabyte is back in 16 seconds. */
export const SYNC_BYTES_PER_SECOND_MAX: number = 64 * 1024 ** 2
/** While users send or read, each request of the sync waits for a pause, but never longer than this: 16 MiB/s stay for it. */
const YIELD_MS_MAX = 250
const YIELD_STEP_MS = 10

export function createPace(
  options: { readonly bytesPerSecond: number; readonly yieldMsMax?: number | undefined },
  deps: { readonly clock: Clock; readonly isBusy: () => boolean },
): Pace {
  const { clock, isBusy } = deps
  const { bytesPerSecond } = options
  let freeAtMs = 0
  return {
    async turn(sizeBytes, { signal }) {
      const { atMs, nextFreeMs } = reserve(freeAtMs, { nowMs: clock.nowMs(), sizeBytes, bytesPerSecond })
      freeAtMs = nextFreeMs
      const waitMs = atMs - clock.nowMs()
      if (waitMs > 0) await clock.sleep(waitMs, { signal })
      const yieldUntilMs = clock.nowMs() + (options.yieldMsMax ?? YIELD_MS_MAX)
      while (isBusy() && clock.nowMs() < yieldUntilMs) await clock.sleep(YIELD_STEP_MS, { signal })
    },
  }
}

/** When the next request may start, and when the one after it: time that nobody used is not saved up. */
export function reserve(
  freeAtMs: number,
  request: { readonly nowMs: number; readonly sizeBytes: number; readonly bytesPerSecond: number },
): { readonly atMs: number; readonly nextFreeMs: number } {
  const atMs = Math.max(freeAtMs, request.nowMs)
  return { atMs, nextFreeMs: atMs + (1000 * request.sizeBytes) / request.bytesPerSecond }
}
