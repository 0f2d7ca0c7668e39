import type { Abortable, Clock } from '@weightless/core'

/** One sleeper that can be woken. */
export type Alarm = {
  /** Resolves after `ms`, which may be Infinity, or when somebody rings. Rejects when the signal aborts. */
  sleep(ms: number, options: Required<Abortable>): Promise<void>
  ring(): void
}

export function createAlarm(clock: Pick<Clock, 'sleep'>): Alarm {
  let wake: () => void = () => undefined
  return {
    ring: () => wake(),
    async sleep(ms, { signal }) {
      signal?.throwIfAborted()
      const awake = new AbortController()
      const woken = new Promise<void>((resolve) => (wake = resolve))
      const onAbort = (): void => wake()
      signal?.addEventListener('abort', onAbort, { once: true })
      const scope = signal === undefined ? awake.signal : AbortSignal.any([signal, awake.signal])
      const slept = ms === Infinity ? woken : clock.sleep(Math.max(0, ms), { signal: scope }).catch(() => undefined)
      await Promise.race([woken, slept])
      signal?.removeEventListener('abort', onAbort)
      awake.abort()
      signal?.throwIfAborted()
    },
  }
}
