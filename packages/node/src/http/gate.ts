import type { Clock } from '@weightless/core'
import { invariant } from '@weightless/core'
import { fail } from '../errors.ts'

/**
 * Lets bodies in while their bytes fit a budget; the others wait unread in their sockets, which is the back-pressure that
 * official clients need: they open one request per segment at once (DESIGN D8). First come, first served.
 */
export type Gate = {
  /** Resolves to the function that gives the bytes back. Rejects with `SERVER_BUSY` after `waitMsMax`. */
  enter(sizeBytes: number, options: { readonly signal: AbortSignal }): Promise<() => void>
  usage(): { readonly usedBytes: number; readonly waitingCount: number }
}

export type GateOptions = { readonly bytesMax: number; readonly waitMsMax: number; readonly waitingMax: number }

export function createGate(options: GateOptions, deps: { readonly clock: Clock }): Gate {
  type Waiter = { readonly sizeBytes: number; readonly open: () => void }
  let usedBytes = 0
  const waiting: Waiter[] = []

  const admit = (): void => {
    while (waiting.length > 0 && fits(waiting[0]!.sizeBytes)) waiting.shift()!.open()
  }
  const leave = (sizeBytes: number): (() => void) => {
    let left = false
    return () => {
      if (left) return
      left = true
      usedBytes -= sizeBytes
      invariant(usedBytes >= 0, 'nobody gives back more than was taken')
      admit()
    }
  }
  // A body above the budget is let in alone, or it would wait for ever.
  const fits = (sizeBytes: number): boolean => usedBytes === 0 || usedBytes + sizeBytes <= options.bytesMax

  return {
    usage: () => ({ usedBytes, waitingCount: waiting.length }),
    async enter(sizeBytes, { signal }) {
      signal.throwIfAborted()
      if (waiting.length === 0 && fits(sizeBytes)) {
        usedBytes += sizeBytes
        return leave(sizeBytes)
      }
      if (waiting.length >= options.waitingMax) throw fail('SERVER_BUSY', { waitingCount: waiting.length })
      const late = deps.clock.deadline(options.waitMsMax)
      const ended = AbortSignal.any([signal, late])
      return await new Promise<() => void>((resolve, reject) => {
        const waiter: Waiter = {
          sizeBytes,
          open: () => {
            ended.removeEventListener('abort', giveUp)
            usedBytes += sizeBytes
            resolve(leave(sizeBytes))
          },
        }
        const giveUp = (): void => {
          waiting.splice(waiting.indexOf(waiter), 1)
          reject(signal.aborted ? signal.reason : fail('SERVER_BUSY', { waitedMs: options.waitMsMax }))
          admit()
        }
        ended.addEventListener('abort', giveUp, { once: true })
        waiting.push(waiter)
      })
    },
  }
}
