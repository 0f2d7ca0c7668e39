import type { Clock, Failure } from '@weightless/core'
import { invariant } from '@weightless/core'
import { fail } from '../errors.ts'

/**
 * Lets bodies in while their bytes fit a budget; the others wait unread in their sockets, which is the back-pressure that
 * official clients need: they open one request per segment at once (DESIGN D8). First come, first served, but a client that
 * sends nothing does not hold up those who do: it is passed by while it waits, and loses its place when others wait for it.
 */
export type Gate = {
  /** Resolves to the function that gives the bytes back. Rejects with `SERVER_BUSY` after `waitMsMax`. */
  enter(sizeBytes: number, options: { readonly signal: AbortSignal }): Promise<() => void>
  /** The same where progress depends on a client: `movedBytes` tells how much has come from it, or gone to it. */
  enterWatched(sizeBytes: number, options: WatchOptions): Promise<Place>
  usage(): { readonly usedBytes: number; readonly waitingCount: number }
}

export type WatchOptions = {
  readonly signal: AbortSignal
  readonly movedBytes: (() => number) | undefined
  /** Called instead of `lost`, which costs an upload more than it needs: a signal is some twenty objects. */
  readonly onLost?: ((failure: Failure) => void) | undefined
}
export type Place = {
  /** Aborts with `CLIENT_TOO_SLOW` when the place has gone to somebody else. */
  readonly lost: AbortSignal
  /** The client has done its part: the place cannot be lost, */
  keep(): void
  /** until it is the client's turn again. */
  expect(): void
  leave(): void
}

export type GateOptions = {
  readonly bytesMax: number
  readonly waitMsMax: number
  readonly waitingMax: number
  /** Of these bytes, those of clients that send at speed: who is still there after a step is slow and counts no more. What
   *  hundreds send at once is read a few at a time, in memory that is still in the cache. */
  readonly burstBytesMax?: number | undefined
  /** While somebody waits, a client must move so much in each window that it would be through within `wholeMs`. */
  readonly pace?: { readonly windowMs: number; readonly wholeMs: number } | undefined
}

type Taken = { slacken(): void; leave(): void }

/** Bodies of clients that send: two seconds without a thirtieth of it are a stall, not a slow line. */
export const BODY_PACE = { windowMs: 2_000, wholeMs: 60_000 } as const
/** Answers to clients that read, a segment at a time: below 50 KB/s somebody else is served first. */
export const ANSWER_PACE = { windowMs: 5_000, wholeMs: 60_000 } as const

/** A server reads some 16 KiB of a body that nobody asks for: whoever has sent half of that is sending. */
const FIRST_BYTES = 8 * 1024
const STEP_MS = 250

export function createGate(options: GateOptions, deps: { readonly clock: Clock }): Gate {
  type Waiter = {
    readonly sizeBytes: number
    readonly movedBytes: (() => number) | undefined
    readonly open: () => void
  }
  type Holder = {
    readonly sizeBytes: number
    readonly movedBytes: () => number
    readonly lose: () => void
    /** It is not counted among those at speed any more. */
    readonly slacken: () => void
    readonly enteredMs: number
    sinceMs: number
    sinceBytes: number
  }
  const { clock } = deps
  const { burstBytesMax = Infinity } = options
  let usedBytes = 0
  let burstBytes = 0
  let isWatching = false
  const waiting: Waiter[] = []
  /** Those whose client has not done its part yet. */
  const holders = new Set<Holder>()

  // A body above the budget is let in alone, or it would wait for ever.
  const fits = (sizeBytes: number): boolean =>
    usedBytes === 0 ||
    (usedBytes + sizeBytes <= options.bytesMax && (burstBytes === 0 || burstBytes + sizeBytes <= burstBytesMax))
  const isSending = ({ movedBytes, sizeBytes }: Waiter): boolean =>
    movedBytes === undefined || movedBytes() >= Math.min(sizeBytes, FIRST_BYTES)
  const nextWaiter = (): Waiter | undefined => waiting.find(isSending) ?? waiting[0]

  const admit = (): void => {
    for (let next = nextWaiter(); next !== undefined && fits(next.sizeBytes); next = nextWaiter()) {
      waiting.splice(waiting.indexOf(next), 1)
      next.open()
    }
  }
  const take = (sizeBytes: number): Taken => {
    let state: 'atSpeed' | 'slow' | 'left' = 'atSpeed'
    usedBytes += sizeBytes
    burstBytes += sizeBytes
    const leaveBurst = (): void => {
      if (state === 'atSpeed') burstBytes -= sizeBytes
    }
    return {
      slacken() {
        if (state !== 'atSpeed') return
        leaveBurst()
        state = 'slow'
        admit()
      },
      leave() {
        if (state === 'left') return
        leaveBurst()
        state = 'left'
        usedBytes -= sizeBytes
        invariant(usedBytes >= 0, 'nobody gives back more than was taken')
        admit()
      },
    }
  }

  /** Those who came within one step give up together: a deadline for each would be as many timers as there are bodies. */
  let lateSinceMs = -Infinity
  let late = new Set<() => void>()
  function lateFrom(nowMs: number): Set<() => void> {
    if (nowMs - lateSinceMs < STEP_MS) return late
    lateSinceMs = nowMs
    const group = new Set<() => void>()
    const giveUp = (): void => {
      for (const one of group) one()
    }
    clock.deadline(options.waitMsMax).addEventListener('abort', giveUp, { once: true })
    late = group
    return group
  }

  /** Resolves when it is its turn; its bytes are taken by then. */
  async function wait(sizeBytes: number, { signal, movedBytes }: WatchOptions): Promise<Taken> {
    signal.throwIfAborted()
    if (waiting.length === 0 && fits(sizeBytes)) return take(sizeBytes)
    if (waiting.length >= options.waitingMax) throw fail('SERVER_BUSY', { waitingCount: waiting.length })
    const group = lateFrom(clock.nowMs())
    void watch()
    return await new Promise<Taken>((resolve, reject) => {
      const waiter: Waiter = {
        sizeBytes,
        movedBytes,
        open: () => {
          stopListening()
          resolve(take(sizeBytes))
        },
      }
      const stopListening = (): void => {
        signal.removeEventListener('abort', giveUp)
        group.delete(giveUp)
      }
      const giveUp = (): void => {
        stopListening()
        waiting.splice(waiting.indexOf(waiter), 1)
        reject(signal.aborted ? signal.reason : fail('SERVER_BUSY', { waitedMs: options.waitMsMax }))
        admit()
      }
      signal.addEventListener('abort', giveUp)
      group.add(giveUp)
      waiting.push(waiter)
    })
  }

  async function watch(): Promise<void> {
    if (isWatching || options.pace === undefined) return
    isWatching = true
    for (let lastMs = clock.nowMs(); ; lastMs = clock.nowMs()) {
      await clock.sleep(STEP_MS, {})
      if (waiting.length === 0) break
      // What a step takes too long, this process was too busy to read: no client is to blame for that time.
      const lateMs = Math.max(0, clock.nowMs() - lastMs - STEP_MS)
      for (const holder of holders) holder.sinceMs += lateMs
      makeRoom(options.pace)
    }
    isWatching = false
  }

  function makeRoom(pace: NonNullable<GateOptions['pace']>): void {
    const nowMs = clock.nowMs()
    for (const holder of holders) {
      if (nowMs - holder.enteredMs >= STEP_MS) holder.slacken()
      const heldMs = nowMs - holder.sinceMs
      if (heldMs < pace.windowMs) continue
      const isSlow = (holder.movedBytes() - holder.sinceBytes) * pace.wholeMs < holder.sizeBytes * heldMs
      if (!isSlow) restart(holder)
      else if (waiting.length > 0) holder.lose()
    }
  }

  function restart(holder: Holder): void {
    holder.sinceMs = clock.nowMs()
    holder.sinceBytes = holder.movedBytes()
  }

  return {
    usage: () => ({ usedBytes, waitingCount: waiting.length }),
    enter: async (sizeBytes, { signal }) => (await wait(sizeBytes, { signal, movedBytes: undefined })).leave,
    async enterWatched(sizeBytes, watched) {
      const { movedBytes, onLost } = watched
      const { leave, slacken } = await wait(sizeBytes, watched)
      if (movedBytes === undefined) return { lost: NEVER, keep: () => undefined, expect: () => undefined, leave }
      let lost: AbortController | undefined
      let failure: Failure | undefined
      const holder: Holder = {
        sizeBytes,
        movedBytes,
        slacken,
        enteredMs: clock.nowMs(),
        sinceMs: 0,
        sinceBytes: 0,
        lose: () => {
          failure = fail('CLIENT_TOO_SLOW', { sizeBytes, movedBytes: movedBytes() })
          lost?.abort(failure)
          onLost?.(failure)
          end()
        },
      }
      const keep = (): void => void holders.delete(holder)
      let isOver = false
      const expect = (): void => {
        if (isOver) return
        restart(holder)
        holders.add(holder)
      }
      const end = (): void => {
        isOver = true
        keep()
        leave()
      }
      expect()
      return {
        get lost() {
          lost ??= new AbortController()
          if (failure !== undefined) lost.abort(failure)
          return lost.signal
        },
        keep,
        expect,
        leave: end,
      }
    },
  }
}

const NEVER: AbortSignal = new AbortController().signal
