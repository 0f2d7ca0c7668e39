import type { Clock, Entry, Logger, Member } from '@weightless/core'
import { BATCH_SEGMENTS_MAX, concat, encodeFrames, isFailure, layoutOf, placeHomes, placementOrder, slotsOf } from '@weightless/core'
import { fail } from '../errors.ts'
import type { MembershipView } from '../flow/membership.ts'
import type { Shelf } from '../segments/shelf.ts'
import type { Ledger } from './ledger.ts'
import type { Peers } from './peers.ts'

/**
 * Brings whole entries from the spool to their homes (DESIGN D7, D8). What is to be done follows from the spool and the
 * ledger alone, so a crash in the middle costs a question to each home and the segments it lacks.
 */
export type Dispersal = {
  /** Starts, or keeps going. An entry is known once, however often it is offered. */
  offer(entry: Entry): void
  /** The membership changed: entries that were short of holders are tried at once. */
  retry(entries: (seq: number) => Entry | undefined): void
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
  readonly shelf: Shelf
  readonly ledger: Ledger
  readonly membership: MembershipView
  readonly peers: Peers
  readonly clock: Clock
  readonly logger: Logger
  /** Called when an entry has become final. */
  readonly onFinal: (entry: Entry) => void
}

/** Entries on their way at once: each holds two batches of 4 MiB, read and framed. */
const JOBS_MAX = 4
/** A holder may first wait for its follower, then writes and syncs 4 MiB. */
const PUT_TIMEOUT_MS = 30_000
const ASK_TIMEOUT_MS = 3_000
const RETRY_MS_MIN = 500
const RETRY_MS_MAX = 30_000

type Target = { readonly slot: number; readonly member: Member }

export function createDispersal(options: { readonly replicas: number }, deps: DispersalDeps): Dispersal {
  const { shelf, ledger, membership, peers, clock, logger } = deps
  const states = new Map<number, DispersalState>()
  const attempts = new Map<number, number>()
  const queue: Entry[] = []
  let wake: () => void = () => undefined

  function offer(entry: Entry): void {
    if (states.has(entry.seq) || ledger.isFinal(entry)) return
    states.set(entry.seq, 'queued')
    queue.push(entry)
    wake()
  }

  async function run({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    const running = new Set<Promise<void>>()
    signal.addEventListener('abort', () => wake(), { once: true })
    while (!signal.aborted) {
      while (queue.length > 0 && running.size < JOBS_MAX) {
        const job = deliver(queue.shift()!, signal).finally(() => {
          running.delete(job)
          wake()
        })
        running.add(job)
      }
      await new Promise<void>((resolve) => (wake = resolve))
    }
    await Promise.all(running)
  }

  /** One turn of one entry; a turn that falls short comes back later and leaves its place to others meanwhile. */
  async function deliver(entry: Entry, signal: AbortSignal): Promise<void> {
    states.set(entry.seq, 'sending')
    try {
      if (await disperse(entry, signal)) {
        states.delete(entry.seq)
        attempts.delete(entry.seq)
        deps.onFinal(entry)
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
      states.delete(entry.seq)
      if (!signal.aborted) logger.error('dispersal.failed', { seq: entry.seq, root: entry.root, error })
    }
  }
  function requeue(entry: Entry): void {
    if (states.get(entry.seq) !== 'short') return
    states.set(entry.seq, 'queued')
    queue.push(entry)
    wake()
  }

  /** Fills the slots round by round: homes first, then the next reachable node in the order of each slot. */
  async function disperse(entry: Entry, signal: AbortSignal): Promise<boolean> {
    const tried = new Set<number>()
    for (;;) {
      if (await ledger.settle(entry)) return true
      const targets = chooseTargets(entry, tried)
      if (targets.length === 0) return false
      for (const { member } of targets) tried.add(member.id)
      const asked = await Promise.all(targets.map(async (target) => ((await ask(entry, target, signal)) ? undefined : target)))
      const open = asked.filter((target) => target !== undefined)
      if (open.length > 0) await send(entry, open, signal)
      signal.throwIfAborted()
    }
  }

  function chooseTargets(entry: Entry, tried: ReadonlySet<number>): readonly Target[] {
    const { members } = membership.current()
    const receipts = ledger.counted(entry)
    const signed = new Set(receipts.map((receipt) => receipt.signer))
    const filled = new Set(receipts.flatMap((receipt) => slotsOf(receipt.slots)))
    const missing = ledger.neededCount(entry) - signed.size
    const free = members.filter((member) => !signed.has(member.signer) && !tried.has(member.id) && peers.of(member) !== undefined)
    const homes = placeHomes({ key: entry.root, slotCount: options.replicas }, members)
    const chosen: Target[] = []
    const used = new Set<number>()
    for (const { slot, member: home } of homes) {
      if (chosen.length >= missing) break
      if (filled.has(slot)) continue
      const order = [home, ...placementOrder({ key: entry.root, slot }, members)]
      const candidates = order.filter((member) => free.includes(member) && !used.has(member.id) && (member === home || !isHome(homes, member, tried)))
      const member = candidates.find((one) => !peers.isAvoided(one)) ?? candidates[0]
      if (member === undefined) continue
      used.add(member.id)
      chosen.push({ slot, member })
    }
    return chosen
  }

  /** A holder may have everything already: our own clients send to it, and a gateway may have crashed before it wrote that down. */
  async function ask(entry: Entry, { slot, member }: Target, signal: AbortSignal): Promise<boolean> {
    try {
      const receipt = await peers.of(member)!.receipt(entry.root, { seq: entry.seq, slot }, { signal, timeoutMs: ASK_TIMEOUT_MS })
      if (receipt === undefined) return false
      await ledger.add(entry, receipt)
      return true
    } catch (error) {
      signal.throwIfAborted()
      peers.failed(member, error)
      return false
    }
  }

  /** Reads each batch once and sends it to all targets; one that fails is left behind, the others go on. */
  async function send(entry: Entry, targets: readonly Target[], signal: AbortSignal): Promise<void> {
    let open = targets.filter((target) => !peers.isAvoided(target.member))
    const { segmentCount } = layoutOf(entry.sizeBytes)
    let next: Promise<Uint8Array> | undefined = readBatch(entry, 0, signal)
    for (let from = 0; from < segmentCount && open.length > 0; from += BATCH_SEGMENTS_MAX) {
      const body = await next!
      next = from + BATCH_SEGMENTS_MAX < segmentCount ? readBatch(entry, from + BATCH_SEGMENTS_MAX, signal) : undefined
      next?.catch(() => undefined)
      const sent = await Promise.all(open.map(async (target) => ((await put(entry, target, body, signal)) ? target : undefined)))
      open = sent.filter((target) => target !== undefined)
    }
  }

  async function put(entry: Entry, { slot, member }: Target, body: Uint8Array, signal: AbortSignal): Promise<boolean> {
    try {
      const { receipt } = await peers.of(member)!.putFrames(entry.root, { seq: entry.seq, slot, body }, { signal, timeoutMs: PUT_TIMEOUT_MS })
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

  async function readBatch(entry: Entry, from: number, signal: AbortSignal): Promise<Uint8Array> {
    const { segmentCount } = layoutOf(entry.sizeBytes)
    const count = Math.min(BATCH_SEGMENTS_MAX, segmentCount - from)
    const segments = await Promise.all(
      Array.from({ length: count }, async (_, i) => {
        const segment = await shelf.read(entry, from + i, { signal })
        if (segment === undefined) throw fail('SEGMENT_MISSING', { root: entry.root, seq: entry.seq, index: from + i })
        return segment
      }),
    )
    return concat(encodeFrames(segments))
  }

  return {
    offer,
    retry(entries) {
      for (const [seq, state] of states) {
        const entry = state === 'short' ? entries(seq) : undefined
        if (entry !== undefined) requeue(entry)
      }
    },
    states: () => states,
    run,
  }
}

/** A home that is still to be tried for its own slot is not taken for another. */
function isHome(homes: readonly Target[], member: Member, tried: ReadonlySet<number>): boolean {
  return homes.some((home) => home.member.id === member.id && !tried.has(member.id))
}
