import { invariant } from '@weightless/core'
import type { Abortable } from '@weightless/core'

/** Lets work in while what is inside stays below a number of bytes; the rest waits in line. Work larger than the bound goes in
 *  alone. `enter` resolves to the function that leaves; it rejects with the signal's reason. */
export function createAdmission(bytesMax: number): Admission {
  let insideBytes = 0
  const line: Waiting[] = []

  function leave(bytes: number): void {
    insideBytes -= bytes
    invariant(insideBytes >= 0, 'who leaves has entered')
    while (line.length > 0 && fits(line[0]!.bytes)) line.shift()!.enter()
  }
  const fits = (bytes: number): boolean => insideBytes === 0 || insideBytes + bytes <= bytesMax

  function admitted(bytes: number): () => void {
    insideBytes += bytes
    let isInside = true
    return () => {
      if (isInside) leave(bytes)
      isInside = false
    }
  }

  return {
    waitingCount: () => line.length,
    enter: (bytes, { signal } = {}) => {
      if (signal?.aborted) return Promise.reject(signal.reason)
      if (line.length === 0 && fits(bytes)) return Promise.resolve(admitted(bytes))
      return new Promise((resolve, reject) => {
        const onAbort = (): void => {
          line.splice(line.indexOf(waiting), 1)
          reject(signal!.reason)
          // Who stood behind may fit where this one did not.
          while (line.length > 0 && fits(line[0]!.bytes)) line.shift()!.enter()
        }
        const waiting: Waiting = {
          bytes,
          enter: () => {
            signal?.removeEventListener('abort', onAbort)
            resolve(admitted(bytes))
          },
        }
        line.push(waiting)
        signal?.addEventListener('abort', onAbort, { once: true })
      })
    },
  }
}

export type Admission = {
  enter(bytes: number, options?: Abortable): Promise<() => void>
  waitingCount(): number
}
type Waiting = { readonly bytes: number; readonly enter: () => void }
