import type { Abortable, Clock } from '@weightless/core'
import { fail } from './errors.ts'

/** Runs `work` under the caller's signal and a deadline. The signal that `work` gets also aborts when `work` settles, so that
 *  nothing it started outlives it. Rejects with the caller's reason, or `DEADLINE_PASSED`, at once, even if `work` does not
 *  listen. */
export async function withDeadline<T>(
  options: Abortable & { readonly timeoutMs: number; readonly what: string },
  deps: { readonly clock: Clock },
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { signal, timeoutMs, what } = options
  signal?.throwIfAborted()
  const controller = new AbortController()
  let abandon: (reason: unknown) => void = () => undefined
  const aborted = new Promise<never>((_, reject) => (abandon = reject))
  const end = (reason: unknown): void => {
    abandon(reason)
    controller.abort(reason)
  }
  const onAbort = (): void => end(signal!.reason)
  signal?.addEventListener('abort', onAbort, { once: true })
  deps.clock.sleep(timeoutMs, { signal: controller.signal }).then(
    () => end(fail('DEADLINE_PASSED', { what, timeoutMs })),
    () => undefined,
  )
  try {
    return await Promise.race([work(controller.signal), aborted])
  } finally {
    signal?.removeEventListener('abort', onAbort)
    aborted.catch(() => undefined)
    controller.abort(SETTLED)
  }
}

/** A child of `signal` that can be ended by itself; `end` also lets go of the parent. */
export function childScope(signal: AbortSignal | undefined): {
  readonly signal: AbortSignal
  end(reason?: unknown): void
} {
  const controller = new AbortController()
  const onAbort = (): void => controller.abort(signal!.reason)
  if (signal?.aborted) controller.abort(signal.reason)
  else signal?.addEventListener('abort', onAbort, { once: true })
  return {
    signal: controller.signal,
    end: (reason = SETTLED) => {
      signal?.removeEventListener('abort', onAbort)
      controller.abort(reason)
    },
  }
}

/** Any number of children of `signal` behind one listener: machines warn of more than ten on one signal. */
export function childScopes(signal: AbortSignal | undefined): {
  child(): ReturnType<typeof childScope>
  end(reason?: unknown): void
} {
  const parent = childScope(signal)
  const controllers = new Set<AbortController>()
  parent.signal.addEventListener('abort', () => controllers.forEach((one) => one.abort(parent.signal.reason)))
  return {
    child: () => {
      const controller = new AbortController()
      controllers.add(controller)
      if (parent.signal.aborted) controller.abort(parent.signal.reason)
      return {
        signal: controller.signal,
        end: (reason = SETTLED) => {
          controllers.delete(controller)
          controller.abort(reason)
        },
      }
    },
    end: parent.end,
  }
}

/** Rejects as soon as `signal` aborts, for waits that cannot be cancelled. */
export async function abortable<T>(promise: Promise<T>, options: Abortable): Promise<T> {
  const { signal } = options
  if (signal === undefined) return promise
  if (signal.aborted) {
    promise.catch(() => undefined)
    throw signal.reason
  }
  let onAbort: () => void = () => undefined
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
  })
  try {
    return await Promise.race([promise, aborted])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

/** One run of `work` serves all who ask while it runs, with the arguments of the first. It is aborted when the last of them has left. */
export function shared<T, Args extends readonly unknown[]>(
  work: (signal: AbortSignal, ...args: Args) => Promise<T>,
): (options: Abortable, ...args: Args) => Promise<T> {
  let running: { readonly result: Promise<T>; readonly controller: AbortController; waiting: number } | undefined
  return async ({ signal }, ...args) => {
    signal?.throwIfAborted()
    if (running === undefined) {
      const controller = new AbortController()
      running = { controller, result: work(controller.signal, ...args), waiting: 0 }
      const mine = running
      const over = (): void => {
        if (running === mine) running = undefined
      }
      mine.result.then(over, over)
    }
    const mine = running
    mine.waiting += 1
    try {
      return await abortable(mine.result, { signal })
    } finally {
      mine.waiting -= 1
      if (mine.waiting === 0) {
        // A later caller starts anew: what runs here is over or about to be aborted.
        if (running === mine) running = undefined
        mine.controller.abort(SETTLED)
      }
    }
  }
}

/** One reason for all ends: an Error with its stack per request would cost more than the request's bookkeeping. */
const SETTLED: Error = new Error('this work is over')
