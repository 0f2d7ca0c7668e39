import type { Clock, Entry, Member } from '@weightless/core'
import { copyHomes, placementOrder } from '@weightless/core'
import { createAlarm } from '../alarm.ts'
import type { MembershipView } from '../flow/membership.ts'
import type { Ledger } from './ledger.ts'
import type { Peers } from '../peers/peers.ts'

/**
 * Asks the nodes for their receipts of entries that did not come through this gateway: our own clients send to the holders
 * themselves (DESIGN D8).
 */
export type ReceiptSearch = {
  /** Asks now, unless somebody asked a moment ago; gives up after a short while. */
  ask(entry: Entry): Promise<void>
  /** Asks a few times in the background, at a falling pace. */
  watch(entry: Entry): void
  /** Resolves when `signal` aborts. */
  run(options: { readonly signal: AbortSignal }): Promise<void>
}

export type ReceiptSearchDeps = {
  readonly ledger: Ledger
  readonly membership: MembershipView
  readonly peers: Peers
  readonly clock: Clock
  /** Entries whose bytes are here are the dispersal's business. */
  readonly isSpooled: (entry: Entry) => boolean
  /** Asks the nodes for a certificate of an entry that some other says it is the parity of. */
  readonly findCertificate: (entry: Entry, options: { readonly signal: AbortSignal }) => Promise<void>
  /** Some have signed, and for a while no more of them: whoever brought the entry does not go on with it. */
  readonly onShort: (entry: Entry) => void
  /** Aborts when the service stops: one question serves all who ask meanwhile. */
  readonly signal: AbortSignal
}

/** Official clients poll once a second: each poll may ask once. */
const ASKED_AGAIN_MS = 900
const ASK_TIMEOUT_MS = 1_500
const ASKED_MAX = 4096
/** A short entry is left to whoever uploads it for so long, as homes leave it (sync/planSync.ts). */
const SHORT_MS = 30_000
/** Nodes asked: all homes, then as many of those who stand in for them. */
const ASK_FACTOR = 2
/** When a new entry is looked for: our SDK needs seconds at most, a slow line up to a minute; afterwards only when asked. */
const WATCH_DELAYS_MS = [1_000, 3_000, 10_000, 30_000, 60_000] as const
/** Entries watched at once; in a flood the newest are left to those who ask. */
const WATCHED_MAX = 4096
const WATCH_WINDOW = 16

export function createReceiptSearch(options: { readonly replicas: number }, deps: ReceiptSearchDeps): ReceiptSearch {
  const { ledger, membership, peers, clock, signal } = deps
  const asked = new Map<string, { readonly atMs: number; readonly work: Promise<void> }>()
  const certifying = new Map<string, Promise<void>>()
  const shortSinceMs = new Map<string, number>()
  const watched: { readonly entry: Entry; readonly turn: number; readonly dueMs: number }[] = []
  const alarm = createAlarm(clock)

  function ask(entry: Entry): Promise<void> {
    if (ledger.isFinal(entry)) return Promise.resolve()
    const key = keyOf(entry)
    const before = asked.get(key)
    if (before !== undefined && clock.nowMs() - before.atMs < ASKED_AGAIN_MS) return before.work
    const work = search(entry).then(() => noteShort(entry, key))
    asked.delete(key)
    asked.set(key, { atMs: clock.nowMs(), work })
    if (asked.size > ASKED_MAX) asked.delete(asked.keys().next().value!)
    return work
  }

  /** Tells of an entry that is still short a while later, and then waits as long again. */
  function noteShort(entry: Entry, key: string): void {
    const nowMs = clock.nowMs()
    const sinceMs = shortSinceMs.get(key) ?? nowMs
    shortSinceMs.delete(key)
    if (ledger.isFinal(entry) || ledger.counted(entry).length === 0) return
    if (nowMs - sinceMs >= SHORT_MS) deps.onShort(entry)
    else shortSinceMs.set(key, sinceMs)
    if (shortSinceMs.size > ASKED_MAX) shortSinceMs.delete(shortSinceMs.keys().next().value!)
  }

  async function search(entry: Entry): Promise<void> {
    if (await ledger.settle(entry)) return
    const { members } = membership.current()
    const homes = copyHomes({ key: entry.root, count: options.replicas }, members)
    const signed = new Set(ledger.receipts(entry).map((receipt) => receipt.signer))
    const order = [
      ...homes,
      ...placementOrder({ key: entry.root, slot: 0 }, members).map((member) => ({ slot: 0, member })),
    ]
    const targets = order
      .filter(({ member }, i) => order.findIndex((other) => other.member.id === member.id) === i)
      .slice(0, ASK_FACTOR * options.replicas)
      .filter(({ member }) => !signed.has(member.signer) && !peers.isAvoided(member) && peers.of(member) !== undefined)
    // The homes first: as a rule they have it, and nobody else has anything to say.
    const atHome = new Set(homes.map(({ member }) => member.id))
    const isHome = ({ member }: { readonly member: Member }): boolean => atHome.has(member.id)
    await Promise.all(targets.filter(isHome).map(({ slot, member }) => askOne(entry, member, slot)))
    if (ledger.isFinal(entry)) return
    await searchCertificate(entry)
    if (ledger.isFinal(entry)) return
    await Promise.all(
      targets.filter((target) => !isHome(target)).map(({ slot, member }) => askOne(entry, member, slot)),
    )
  }

  /** Once at a time: many are asked, and those that hang hold it up for longer than clients wait between two polls. */
  function searchCertificate(entry: Entry): Promise<void> {
    const key = keyOf(entry)
    const running = certifying.get(key)
    if (running !== undefined) return running
    const work = deps.findCertificate(entry, { signal }).finally(() => certifying.delete(key))
    certifying.set(key, work)
    return work
  }

  async function askOne(entry: Entry, member: Member, slot: number): Promise<void> {
    try {
      const receipt = await peers
        .of(member)!
        .receipt(entry.root, { seq: entry.seq, slot }, { signal, timeoutMs: ASK_TIMEOUT_MS })
      if (receipt !== undefined) await ledger.add(entry, receipt)
    } catch (error) {
      // Whoever does not answer is left out; the next question finds others.
      if (!signal.aborted) peers.failed(member, error)
    }
  }

  return {
    ask,
    watch(entry) {
      if (watched.length >= WATCHED_MAX) return
      watched.push({ entry, turn: 0, dueMs: clock.nowMs() + WATCH_DELAYS_MS[0] })
      alarm.ring()
    },
    async run({ signal: over }) {
      while (!over.aborted) {
        const dueMs = watched.reduce((least, one) => Math.min(least, one.dueMs), Infinity)
        const waitMs = dueMs - clock.nowMs()
        if (waitMs > 0) {
          await alarm.sleep(waitMs, { signal: over }).catch(() => undefined)
          continue
        }
        const due = watched.filter((one) => one.dueMs <= clock.nowMs()).slice(0, WATCH_WINDOW)
        for (const one of due) watched.splice(watched.indexOf(one), 1)
        await Promise.all(
          due.map(async ({ entry, turn }) => {
            if (deps.isSpooled(entry) || ledger.isFinal(entry)) return
            await ask(entry).catch(() => undefined)
            const delayMs = WATCH_DELAYS_MS[turn + 1]
            if (delayMs !== undefined && !ledger.isFinal(entry))
              watched.push({ entry, turn: turn + 1, dueMs: clock.nowMs() + delayMs })
          }),
        )
      }
    },
  }
}

/** Another entry may have its number after a reorganisation. */
function keyOf({ seq, blockHash }: Entry): string {
  return `${seq} ${blockHash}`
}
