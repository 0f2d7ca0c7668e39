import { invariant, isFailure, type Abortable, type Clock, type Random } from '@weightless/core'

export type RetryOptions = Abortable & {
  /** All tries together, the first included. */
  readonly attemptsMax: number
  /** Wait before the second try; doubles, with jitter, up to `delayMsMax`. */
  readonly delayMsMin: number
  readonly delayMsMax: number
  /** Default: what the error itself says. */
  readonly retryable?: ((error: unknown) => boolean) | undefined
}

/** A peer may ask for so much patience and no more: the caller has a deadline of its own. */
const RETRY_AFTER_MS_MAX = 30_000

/** Tries again what may succeed later, a bounded number of times, and no sooner than the peer asks for (`retryAfterMs` of its error). Ends at once when the signal aborts. */
export async function retry<T>(
  work: (attempt: number) => Promise<T>,
  options: RetryOptions,
  deps: { readonly clock: Clock; readonly random: Random },
): Promise<T> {
  const { attemptsMax, signal, retryable = (error) => isFailure(error) && error.retryable } = options
  invariant(attemptsMax >= 1, 'there is at least one attempt')
  for (let attempt = 1; ; attempt++) {
    signal?.throwIfAborted()
    let askedMs = 0
    try {
      return await work(attempt)
    } catch (error) {
      if (signal?.aborted) throw signal.reason
      if (attempt >= attemptsMax || !retryable(error)) throw error
      if (isFailure(error)) askedMs = Math.min(Number(error.facts['retryAfterMs'] ?? 0), RETRY_AFTER_MS_MAX)
    }
    const delayMs = Math.min(options.delayMsMax, options.delayMsMin * 2 ** (attempt - 1))
    await deps.clock.sleep(Math.max(askedMs, jittered(delayMs, deps.random)), { signal })
  }
}

/** Between half of `ms` and `ms`: many clients that failed together do not come back together. */
export function jittered(ms: number, random: Random): number {
  const [high, low] = random.bytes(2)
  return Math.round(ms * (0.5 + 0.5 * ((high! * 256 + low!) / 65_535)))
}
