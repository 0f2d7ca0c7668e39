import type { Abortable, Clock } from '@weightless/core'
import { fail } from './errors.ts'
import { childScope } from './scope.ts'

/** How fast requests come back: what "hanging" means depends on the link. */
export type Rate = {
  observe(bytes: number, ms: number): void
  /** The longest a request of so many bytes may take beyond its grace. */
  allowedMs(bytes: number): number
  /** What it should take, from recent ones; `undefined` before the first. */
  expectedMs(bytes: number): number | undefined
}

/** Until a request has come back we know nothing of the link: 8 KiB a second is a bad phone. */
const BYTES_PER_MS_FLOOR = 8
/** A request may be this much slower than the best one before its node is given up. */
const SLOWNESS_MAX = 8
/** A request costs its bytes and a fixed part that is worth about as many bytes as this. */
const REQUEST_BYTES: number = 256 * 1024
/** Weight of the newest observation. */
const SMOOTHING = 0.2

export function createRate(): Rate {
  let best: number | undefined
  let smoothedMsPerByte: number | undefined
  return {
    observe: (bytes, ms) => {
      best = Math.max(best ?? BYTES_PER_MS_FLOOR, bytes / Math.max(1, ms))
      const msPerByte = ms / (bytes + REQUEST_BYTES)
      smoothedMsPerByte =
        smoothedMsPerByte === undefined ? msPerByte : smoothedMsPerByte * (1 - SMOOTHING) + msPerByte * SMOOTHING
    },
    allowedMs: (bytes) => (best === undefined ? bytes / BYTES_PER_MS_FLOOR : (SLOWNESS_MAX * bytes) / best),
    expectedMs: (bytes) => (smoothedMsPerByte === undefined ? undefined : smoothedMsPerByte * (bytes + REQUEST_BYTES)),
  }
}

/** What a request is given at most, however slow the link is: no wait is without an end. */
export const PATIENCE_MS_MAX = 3_600_000
/** The answers of others change what may be expected of this one. */
const LOOK_MS = 1_000

/** Runs `work` until it takes longer than `graceMs` and what `rate` allows for so many bytes by then: a node that hangs is
 *  given up as soon as the others show what the link can do. Throws `DEADLINE_PASSED`. */
export async function withPatience<T>(
  options: Abortable & { readonly graceMs: number; readonly bytes: number; readonly what: string },
  deps: { readonly clock: Clock; readonly rate: Rate },
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { graceMs, bytes, what } = options
  const { clock, rate } = deps
  const scope = childScope(options.signal)
  const startMs = clock.nowMs()
  const watch = async (): Promise<void> => {
    for (;;) {
      const timeoutMs = Math.min(PATIENCE_MS_MAX, graceMs + rate.allowedMs(bytes))
      const leftMs = startMs + timeoutMs - clock.nowMs()
      if (leftMs <= 0) return scope.end(fail('DEADLINE_PASSED', { what, timeoutMs: Math.round(timeoutMs) }))
      await clock.sleep(Math.min(LOOK_MS, leftMs), { signal: scope.signal })
    }
  }
  watch().catch(() => undefined)
  try {
    return await work(scope.signal)
  } finally {
    scope.end()
  }
}
