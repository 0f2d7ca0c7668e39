import type { Abortable } from '@weightless/core'
import { childScope } from './scope.ts'

/** Runs `work` for 0 … count − 1, at most `window` at once, and yields the results in order. When the reader stops, or one
 *  fails, the signal of all that still run aborts. Memory: `window` results. */
export async function* inOrder<T>(
  options: Abortable & { readonly count: number; readonly window: number },
  work: (index: number, signal: AbortSignal) => Promise<T>,
): AsyncGenerator<T, void, undefined> {
  const { count, window, signal } = options
  const scope = childScope(signal)
  const running: Promise<T>[] = []
  const start = (index: number): void => {
    const result = work(index, scope.signal)
    // The reader may leave before it comes to this one.
    result.catch(() => undefined)
    running.push(result)
  }
  try {
    let next = 0
    while (next < Math.min(window, count)) start(next++)
    while (running.length > 0) {
      const result = await running.shift()!
      if (next < count) start(next++)
      yield result
    }
  } finally {
    scope.end()
  }
}

/** The same for all of `items`, collected. Ends the others and rejects as soon as one fails. */
export async function mapBounded<In, Out>(
  items: readonly In[],
  options: Abortable & { readonly window: number },
  work: (item: In, signal: AbortSignal, index: number) => Promise<Out>,
): Promise<Out[]> {
  const results: Out[] = []
  const all = inOrder({ ...options, count: items.length }, (index, signal) => work(items[index]!, signal, index))
  for await (const result of all) results.push(result)
  return results
}
