import type { Abortable } from '@weightless/core'

/** Lets at most `count` run at once; the others wait in line. How many wait is bounded by the connections of the clients. Work
 *  whose signal has aborted by its turn is not begun: it costs nobody a place, and a connection with hundreds of waiting calls
 *  needs no listener for each. */
export function createGate(count: number): Gate {
  let free = count
  const line: (() => void)[] = []

  return async (work, { signal } = {}) => {
    if (free > 0) free--
    else await new Promise<void>((pass) => line.push(pass))
    try {
      signal?.throwIfAborted()
      return await work()
    } finally {
      const next = line.shift()
      if (next === undefined) free++
      else next()
    }
  }
}

export type Gate = <T>(work: () => Promise<T>, options?: Abortable) => Promise<T>
