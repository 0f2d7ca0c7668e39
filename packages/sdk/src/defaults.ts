import type { Clock, Logger, Net, Random } from '@weightless/core'

// The web platform behind the ports: the only file of this room that touches fetch, timers and chance.

export const webNet: Net = { fetch: (request) => fetch(request) }

export const webClock: Clock = {
  nowMs: () => Math.floor(performance.timeOrigin + performance.now()),
  sleep: (ms, { signal }) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason)
        return
      }
      const done = (): void => {
        signal?.removeEventListener('abort', stop)
        resolve()
      }
      const timer = setTimeout(done, ms)
      const stop = (): void => {
        clearTimeout(timer)
        reject(signal!.reason)
      }
      signal?.addEventListener('abort', stop, { once: true })
    }),
  // Node refuses parts of a millisecond.
  deadline: (ms) => AbortSignal.timeout(Math.ceil(ms)),
}

/** getRandomValues() refuses more at once. */
const RANDOM_CALL_BYTES_MAX = 65_536

export const webRandom: Random = {
  bytes: (sizeBytes) => {
    const out = new Uint8Array(sizeBytes)
    for (let at = 0; at < sizeBytes; at += RANDOM_CALL_BYTES_MAX) {
      crypto.getRandomValues(out.subarray(at, at + RANDOM_CALL_BYTES_MAX))
    }
    return out
  },
}

/** A library says nothing unless it is given a logger. */
export const silentLogger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silentLogger,
}
