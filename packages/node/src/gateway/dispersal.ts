import type { Clock, Entry, Logger, Member } from '@weightless/core'
import { BATCH_SEGMENTS_MAX, isFailure, layoutOf, copyHomes, placementOrder, slotsOf } from '@weightless/core'
import type { MembershipView } from '../flow/membership.ts'
import type { BatchBodies } from './batchBodies.ts'
import type { Ledger } from './ledger.ts'
import type { ParityGiver } from './parity.ts'
import type { Peers } from '../peers/peers.ts'

/**
 * Brings entries from the spool to their homes (DESIGN D7, D8). What is to be done follows from the spool and the ledger
 * alone, so a crash in the middle costs a question to each home and the segments it lacks. A large entry is passed on while
 * it still comes in; only when it is whole do the holders sign, and only what they have not signed for is sent again.
 */
export type Dispersal = {
  /** Whether its segments go to their holders as they are: what gets parity is coded first, once it is whole. */
  passesOn(entry: Entry): boolean
  /** Segments of an entry that have just been spooled. */
  feed(entry: Entry, indexes: readonly number[]): void
  /** Resolves when the next batch of an entry that is being passed on has left, and at once when there is none to wait for: holders
   *  that need longer than a moment hold up nobody. */
  nextBatch(entry: Entry): Promise<'left' | 'none'>
  /** The entry is whole: it goes on until it is final. An entry is known once, however often it is offered. */
  offer(entry: Entry): void
  /** The membership changed: entries that were short of holders are tried at once. */
  retry(): void
  /** These are on the chain no more: whatever is under way for them ends. Should they come back, they are offered again. */
  forget(entries: readonly Entry[]): void
  states(): ReadonlyMap<number, DispersalState>
  /** Resolves when `signal` aborts. */
  run(options: { readonly signal: AbortSignal }): Promise<void>
}

/**
 * `queued`: waits for its turn. `sending`: segments are on their way. `short`: fewer reachable holders than copies; tried again
 * when the membership changes, and at a falling pace as long as this gateway lives, because its spool holds the only promise.
 */
export type DispersalState = 'queued' | 'sending' | 'short'

export type DispersalDeps = {
  readonly bodies: BatchBodies
  readonly ledger: Ledger
  readonly membership: MembershipView
  readonly peers: Peers
  /** What gets parity is not copied, as long as that can be had. */
  readonly parity?: Pick<ParityGiver, 'covers' | 'give' | 'certify'> | undefined
  /** Its bytes were given to this gateway. Nothing else is paid for or certified by its code: what others left short of copies is
   *  copied. */
  readonly isSpooled: (entry: Entry) => boolean
  readonly clock: Clock
  readonly logger: Logger
  /** Called when an entry has become final. */
  readonly onFinal: (entry: Entry) => void
}

/** Entries on their way at once. */
const JOBS_MAX = 4
/** Entries that are passed on while they come in. */
const LIVE_MAX = 64
/** Three holders that write at the speed of a disk need 100 ms for a batch. */
const BATCH_WAIT_MS = 250
/** A holder may first wait for its follower, then writes and syncs 4 MiB. */
const PUT_TIMEOUT_MS = 30_000
const ASK_TIMEOUT_MS = 3_000
const RETRY_MS_MIN = 500
const RETRY_MS_MAX = 30_000

type Target = { readonly slot: number; readonly member: Member }
/** An entry that still comes in. `open`: its holders, less those that failed. */
type Live = {
  readonly entry: Entry
  readonly fed: Set<number>
  pending: number[]
  open: readonly Target[] | undefined
  pump: Promise<void> | undefined
  /** What those who wait for the next batch wait for. */
  next: { readonly left: Promise<'left' | 'none'>; readonly leave: () => void } | undefined
  /** The batch that is on its way takes too long to be waited for. */
  isSlow: boolean
}

export function createDispersal(options: { readonly replicas: number }, deps: DispersalDeps): Dispersal {
  const { bodies, ledger, membership, peers, clock, logger } = deps
  const states = new Map<number, DispersalState>()
  const attempts = new Map<number, number>()
  /** The entry that a state speaks of: a number may be that of another one after a reorganisation. */
  const current = new Map<number, Entry>()
  const isCurrent = (entry: Entry): boolean => current.get(entry.seq) === entry
  const lives = new Map<number, Live>()
  const queue: Entry[] = []
  let wake: () => void = () => undefined
  let running: AbortSignal | undefined

  const passesOn = (entry: Entry): boolean => deps.parity?.covers(entry) !== true

  function feed(entry: Entry, indexes: readonly number[]): void {
    if (running === undefined || states.has(entry.seq) || ledger.isFinal(entry) || !passesOn(entry)) return
    // What fits one request is sent when it is whole.
    if (layoutOf(entry.sizeBytes).segmentCount <= BATCH_SEGMENTS_MAX) return
    let live = lives.get(entry.seq)
    if (live?.entry.root !== entry.root) {
      // One that stopped half way makes room: its spooled segments are sent if it is ever whole.
      if (live === undefined && lives.size >= LIVE_MAX) lives.delete(lives.keys().next().value!)
      live = { entry, fed: new Set(), pending: [], open: undefined, pump: undefined, next: undefined, isSlow: false }
      lives.set(entry.seq, live)
    }
    for (const index of indexes) {
      if (live.fed.has(index)) continue
      live.fed.add(index)
      live.pending.push(index)
    }
    if (live.pending.length >= BATCH_SEGMENTS_MAX)
      live.pump ??= pump(live, BATCH_SEGMENTS_MAX, running).finally(() => {
        live.pump = undefined
        wakeWaiting(live)
      })
  }

  function nextBatch({ seq, root }: Entry): Promise<'left' | 'none'> {
    const live = lives.get(seq)
    if (live?.pump === undefined || live.isSlow || live.entry.root !== root) return Promise.resolve('none')
    live.next ??= waitForBatch(live)
    return live.next.left
  }

  function waitForBatch(live: Live): NonNullable<Live['next']> {
    const over = new AbortController()
    const left = clock.sleep(BATCH_WAIT_MS, { signal: over.signal }).then(
      () => {
        live.isSlow = true
        live.next = undefined
        return 'none' as const
      },
      () => 'left' as const,
    )
    return { left, leave: () => over.abort() }
  }

  function wakeWaiting(live: Live): void {
    live.next?.leave()
    live.next = undefined
  }

  /** One full batch after the other: a request costs each holder a sync, and nothing is won by being early with a part of it. */
  async function pump(live: Live, least: number, signal: AbortSignal): Promise<void> {
    try {
      live.open ??= chooseTargets(live.entry, new Set()).filter((target) => !peers.isAvoided(target.member))
      while (live.pending.length >= least && live.open.length > 0) {
        const indexes = live.pending.splice(0, BATCH_SEGMENTS_MAX)
        const sent = sendBatch(live.entry, indexes, live.open, signal)
        live.isSlow = false
        wakeWaiting(live)
        live.open = await sent
      }
      if (live.open.length === 0) live.pending = []
    } catch (error) {
      // Once the entry is whole, whatever is missing is sent from the spool.
      live.open = []
      live.pending = []
      if (!signal.aborted) logger.warn('dispersal.interrupted', { seq: live.entry.seq, root: live.entry.root, error })
    }
  }

  function offer(entry: Entry): void {
    if (states.has(entry.seq) || ledger.isFinal(entry)) return
    current.set(entry.seq, entry)
    states.set(entry.seq, 'queued')
    queue.push(entry)
    wake()
  }

  function forget(entries: readonly Entry[]): void {
    for (const { seq } of entries) {
      current.delete(seq)
      states.delete(seq)
      attempts.delete(seq)
      lives.delete(seq)
    }
  }

  function requeue(entry: Entry): void {
    if (!isCurrent(entry) || states.get(entry.seq) !== 'short') return
    states.set(entry.seq, 'queued')
    queue.push(entry)
    wake()
  }

  async function run({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    running = signal
    const jobs = new Set<Promise<void>>()
    signal.addEventListener('abort', () => wake(), { once: true })
    while (!signal.aborted) {
      while (queue.length > 0 && jobs.size < JOBS_MAX) {
        const job = deliver(queue.shift()!, signal).finally(() => {
          jobs.delete(job)
          wake()
        })
        jobs.add(job)
      }
      await new Promise<void>((resolve) => (wake = resolve))
    }
    await Promise.all([...jobs, ...[...lives.values()].map((live) => live.pump)])
  }

  /** One turn of one entry; a turn that falls short comes back later and leaves its place to others meanwhile. */
  async function deliver(entry: Entry, signal: AbortSignal): Promise<void> {
    if (!isCurrent(entry)) return
    states.set(entry.seq, 'sending')
    const isOurs = deps.isSpooled(entry)
    try {
      const live = lives.get(entry.seq)
      lives.delete(entry.seq)
      await live?.pump
      if (live !== undefined) await pump(live, 1, signal)
      const isDelivered = await bring(entry, { isOurs, signal }).catch((error: unknown) => {
        // Of an entry that is not in the spool: its bytes are with holders that may come back.
        if (isFailure(error, 'HOLDERS_UNREACHABLE')) return false
        throw error
      })
      if (!isCurrent(entry)) return
      if (isDelivered) {
        forget([entry])
        deps.onFinal(entry)
        if (isOurs) await deps.parity?.certify(entry, { signal })
        return
      }
      const attempt = (attempts.get(entry.seq) ?? 0) + 1
      attempts.set(entry.seq, attempt)
      const delayMs = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** Math.min(attempt - 1, 10))
      states.set(entry.seq, 'short')
      logger.warn('dispersal.short', {
        seq: entry.seq,
        root: entry.root,
        signedCount: ledger.counted(entry).length,
        neededCount: ledger.neededCount(entry),
        attempt,
        delayMs,
      })
      clock.sleep(delayMs, { signal }).then(
        () => requeue(entry),
        () => undefined,
      )
    } catch (error) {
      if (isCurrent(entry)) forget([entry])
      if (!signal.aborted) logger.error('dispersal.failed', { seq: entry.seq, root: entry.root, error })
    }
  }

  async function bring(
    entry: Entry,
    { isOurs, signal }: { readonly isOurs: boolean; readonly signal: AbortSignal },
  ): Promise<boolean> {
    if (deps.parity === undefined || passesOn(entry) || ledger.isFinal(entry) || !isOurs)
      return await disperse(entry, signal)
    const given = await deps.parity.give(entry, { signal })
    return given === 'certified' || (given === 'copies' && (await disperse(entry, signal)))
  }

  /** Fills the slots round by round: homes first, then the next reachable node in the order of each slot. */
  async function disperse(entry: Entry, signal: AbortSignal): Promise<boolean> {
    const tried = new Set<number>()
    while (isCurrent(entry)) {
      if (await ledger.settle(entry)) return true
      const targets = chooseTargets(entry, tried)
      if (targets.length === 0) return false
      for (const { member } of targets) tried.add(member.id)
      const answers = await Promise.all(targets.map((target) => ask(entry, target, signal)))
      const open = targets.filter((_, i) => answers[i] === 'open')
      if (open.length > 0) await send(entry, open, signal)
      signal.throwIfAborted()
    }
    return false
  }

  function chooseTargets(entry: Entry, tried: ReadonlySet<number>): readonly Target[] {
    const { members } = membership.current()
    const receipts = ledger.counted(entry)
    const signed = new Set(receipts.map((receipt) => receipt.signer))
    const filled = new Set(receipts.flatMap((receipt) => slotsOf(receipt.slots)))
    const missing = ledger.neededCount(entry) - signed.size
    const free = members.filter(
      (member) => !signed.has(member.signer) && !tried.has(member.id) && peers.of(member) !== undefined,
    )
    const homes = copyHomes({ key: entry.root, count: options.replicas }, members)
    // A home that is still to be tried for its own slot is not taken for another. One whose slot somebody else has filled is as
    // good as any (sim seed 487: with the third home away and the others replaced, nobody was left to ask).
    const isReserved = (member: Member): boolean =>
      homes.some((home) => home.member.id === member.id && !filled.has(home.slot) && !tried.has(member.id))
    const chosen: Target[] = []
    const used = new Set<number>()
    for (const { slot, member: home } of homes) {
      if (chosen.length >= missing) break
      if (filled.has(slot)) continue
      const order = [home, ...placementOrder({ key: entry.root, slot }, members)]
      const candidates = order.filter(
        (member) => free.includes(member) && !used.has(member.id) && (member === home || !isReserved(member)),
      )
      const member = candidates.find((one) => !peers.isAvoided(one)) ?? candidates[0]
      if (member === undefined) continue
      used.add(member.id)
      chosen.push({ slot, member })
    }
    return chosen
  }

  /** A holder may have everything already: our own clients send to it, and a gateway may have crashed before it wrote that down. */
  async function ask(
    entry: Entry,
    { slot, member }: Target,
    signal: AbortSignal,
  ): Promise<'signed' | 'open' | 'failed'> {
    try {
      const receipt = await peers
        .of(member)!
        .receipt(entry.root, { seq: entry.seq, slot }, { signal, timeoutMs: ASK_TIMEOUT_MS })
      if (receipt === undefined) return 'open'
      await ledger.add(entry, receipt)
      return 'signed'
    } catch (error) {
      signal.throwIfAborted()
      peers.failed(member, error)
      return 'failed'
    }
  }

  /** All segments of an entry; one that fails is left behind, the others go on. */
  async function send(entry: Entry, targets: readonly Target[], signal: AbortSignal): Promise<void> {
    let open = targets
    const { segmentCount } = layoutOf(entry.sizeBytes)
    for (let from = 0; from < segmentCount && open.length > 0 && isCurrent(entry); from += BATCH_SEGMENTS_MAX) {
      const indexes = Array.from({ length: Math.min(BATCH_SEGMENTS_MAX, segmentCount - from) }, (_, i) => from + i)
      open = await sendBatch(entry, indexes, open, signal)
    }
  }

  /** Frames a batch once and sends it to all targets; returns those that took it. */
  async function sendBatch(
    entry: Entry,
    indexes: readonly number[],
    targets: readonly Target[],
    signal: AbortSignal,
  ): Promise<readonly Target[]> {
    const batch = await bodies.make(entry, indexes, { signal })
    try {
      const sent = await Promise.all(
        targets.map(async (target) => ((await put(entry, target, batch.body, signal)) ? target : undefined)),
      )
      return sent.filter((target) => target !== undefined)
    } finally {
      batch.release()
    }
  }

  async function put(entry: Entry, { slot, member }: Target, body: Uint8Array, signal: AbortSignal): Promise<boolean> {
    try {
      const { receipt } = await peers
        .of(member)!
        .putFrames(entry.root, { seq: entry.seq, slot, body }, { signal, timeoutMs: PUT_TIMEOUT_MS })
      peers.succeeded(member)
      if (receipt !== undefined) await ledger.add(entry, receipt)
      return true
    } catch (error) {
      signal.throwIfAborted()
      peers.failed(member, error)
      logger.warn('dispersal.refused', { seq: entry.seq, root: entry.root, holder: member.id, error })
      return false
    }
  }

  return {
    passesOn,
    feed,
    nextBatch,
    offer,
    retry() {
      for (const entry of Array.from(current.values())) requeue(entry)
    },
    forget,
    states: () => states,
    run,
  }
}
