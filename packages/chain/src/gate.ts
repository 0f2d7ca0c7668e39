import type { Abortable } from '@weightless/core'

/** Lets at most `count` run at once; the others wait in line. How many wait is bounded by the connections of the clients. */
export function createGate(count: number): Gate {
  let free = count
  const line: (() => void)[] = []

  async function enter({ signal }: Abortable): Promise<void> {
    signal?.throwIfAborted()
    if (free > 0) {
      free--
      return
    }
    await new Promise<void>((resolve, reject) => {
      const pass = (): void => {
        signal?.removeEventListener('abort', leave)
        resolve()
      }
      const leave = (): void => {
        line.splice(line.indexOf(pass), 1)
        reject(signal!.reason)
      }
      signal?.addEventListener('abort', leave, { once: true })
      line.push(pass)
    })
  }

  return async (work, options = {}) => {
    await enter(options)
    try {
      return await work()
    } finally {
      const next = line.shift()
      if (next === undefined) free++
      else next()
    }
  }
}

export type Gate = <T>(work: () => Promise<T>, options?: Abortable) => Promise<T>
