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
