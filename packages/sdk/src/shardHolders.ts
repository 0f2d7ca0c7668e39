import {
  invariant,
  isFailure,
  planStripe,
  segmentOfShard,
  stripesOfSegments,
  type StripePlan,
  type StripeRun,
  type WantedStripe,
} from '@weightless/core'
import type { BatchSpan, BodyBuffers } from './batches.ts'
import type { Client } from './client.ts'
import type { Contact } from './contacts.ts'
import type { NodeFailure } from './holders.ts'
import type { Located } from './locate.ts'
import { fetchRun, isLie, type ProvenRun } from './provenRun.ts'
import type { Rate } from './rate.ts'
import { survey, type KnownParity, type Survey } from './survey.ts'

/** Who has the shards of one object, as far as is known by now, and how they behave. */
export type ShardHolders = {
  /** The parity to read a span by, those that were `lost` after all others: the first whose holders say that they have all of it; else
   *  the first one at all, which says what is missing. */
  wayTo(span: BatchSpan, lost: ReadonlySet<string>): Way
  isReadable(way: Way, span: BatchSpan): boolean
  /** The same parity with all holders that are known by now. */
  latest(way: Way): Way
  /** From which slots a stripe is read or computed: shards that are there, then slots with a holder that is well, then others. */
  planFor(way: Way, wanted: WantedStripe, now: SlotStates): StripePlan
  /** From the best holder of a slot, then from the others. `undefined`: nobody has it. */
  fetchSlot(
    parity: KnownParity,
    run: StripeRun & { readonly slot: number },
    failures: NodeFailure[],
    options: { readonly signal: AbortSignal },
  ): Promise<ProvenRun | undefined>
  /** Who let others do its work is not asked first for a while. */
  slowDown(parity: KnownParity, slot: number): void
  /** This parity is of other bytes: from now on only its data slots are used. */
  distrust(way: Way): void
  /** True when everybody who may hold something was asked. */
  isComplete(): boolean
  /** Asks everybody, once for all that miss something. */
  askAgain(options: { readonly signal: AbortSignal }): Promise<void>
}

/** One parity to read with, or, once it is known to be bogus, the data slots that it names alone. */
export type Way = { readonly parity: KnownParity; readonly name: string; readonly isBogus: boolean }
/** Where a gathering of shards stands. */
export type SlotStates = {
  has(stripe: number, slot: number): boolean
  /** Slots that no holder gave. */
  readonly dead: ReadonlySet<number>
  readonly late: ReadonlySet<number>
}

/** Who is slow is not preferred for so long; then it may show that it is well again. */
const SLOW_MS = 10_000

export function createShardHolders(
  client: Client,
  object: Pick<Located, 'root' | 'seq' | 'sizeBytes'>,
  found: Survey,
  options: { readonly rate: Rate; readonly take: BodyBuffers['take'] | undefined },
): ShardHolders {
  const { root, seq, sizeBytes } = object
  const { clock, logger } = client.deps
  const holders = new Map<Contact, Holder>()
  const bogus = new Set<string>()
  let current = found
  let asking: Promise<void> | undefined

  function wayTo(span: BatchSpan, lost: ReadonlySet<string>): Way {
    const ways = current.parities.map((parity): Way => {
      const name = `${parity.seq} ${parity.root}`
      return { parity, name, isBogus: bogus.has(name) }
    })
    invariant(ways.length > 0, 'a reader by shards knows how they are laid out')
    const readable = ways.filter((way) => !lost.has(way.name) && isReadable(way, span))
    // Of a bogus one there are the data slots alone, and who lies says that he has what is missing.
    return readable.find(({ isBogus }) => !isBogus) ?? readable[0] ?? ways.find(({ isBogus }) => !isBogus) ?? ways[0]!
  }

  function isReadable(way: Way, span: BatchSpan): boolean {
    const stripes = stripesOfSegments(way.parity.layout, { from: span.from, to: span.from + span.count })
    return [...stripes].every((wanted) => planFor(way, wanted, NOTHING).kind === 'read')
  }

  function planFor({ parity, isBogus }: Way, wanted: WantedStripe, now: SlotStates): StripePlan {
    const { k } = parity.layout.code
    const slots = [...parity.holders.keys()].sort((a, b) => a - b)
    // What is there already costs nothing.
    const preferred = slots.filter((slot) => now.has(wanted.stripe, slot))
    const avoided: number[] = []
    for (const slot of slots) {
      if ((slot >= k && isBogus) || now.dead.has(slot)) continue
      const usable = usableOf(parity, slot)
      if (usable.length === 0) continue
      const isWell =
        !now.late.has(slot) &&
        usable.some(({ contact, slowUntilMs }) => !contact.isAvoided() && slowUntilMs < clock.nowMs())
      if (isWell) preferred.push(slot)
      else avoided.push(slot)
    }
    return planStripe(parity.layout, wanted, { preferred, avoided })
  }

  function usableOf(parity: KnownParity, slot: number): readonly Holder[] {
    return parity.holders
      .get(slot)!
      .map(holderOf)
      .filter(({ isLiar, lacks }) => !isLiar && !lacks.has(`${parity.seq} ${slot}`))
  }

  function holderOf(contact: Contact): Holder {
    const holder = holders.get(contact) ?? { contact, openCount: 0, slowUntilMs: 0, isLiar: false, lacks: new Set() }
    holders.set(contact, holder)
    return holder
  }

  async function fetchSlot(
    parity: KnownParity,
    { slot, from, count }: StripeRun & { readonly slot: number },
    failures: NodeFailure[],
    { signal }: { readonly signal: AbortSignal },
  ): Promise<ProvenRun | undefined> {
    const { k, m } = parity.layout.code
    const isData = slot < k
    const file = isData
      ? { root, seq, sizeBytes }
      : { root: parity.root, seq: parity.seq, sizeBytes: parity.layout.paritySizeBytes }
    const { segmentIndex } = segmentOfShard(parity.layout, { stripe: from, slot })!
    const run = { from: segmentIndex, count, step: count === 1 ? 1 : isData ? k : m }
    const tried = new Set<Holder>()
    for (;;) {
      const holder = bestOf(usableOf(parity, slot).filter((one) => !tried.has(one)))
      if (holder === undefined) return undefined
      tried.add(holder)
      holder.openCount += 1
      try {
        const { rate, take } = options
        const fetched = await fetchRun(client, holder.contact, { file, run }, { signal, rate, take })
        holder.slowUntilMs = 0
        holder.contact.succeeded()
        return fetched
      } catch (error) {
        signal.throwIfAborted()
        if (!isFailure(error)) throw error
        if (isFailure(error, 'SEGMENTS_NOT_HELD')) holder.lacks.add(`${parity.seq} ${slot}`)
        if (isLie(error)) {
          holder.isLiar = true
          logger.warn('holder.blamed', { node: holder.contact.url, root, slot, error })
        }
        holder.contact.failed(error)
        failures.push({ node: holder.contact.url, error })
      } finally {
        holder.openCount -= 1
      }
    }
  }

  return {
    wayTo,
    isReadable,
    planFor,
    fetchSlot,
    latest(way) {
      const { seq: paritySeq, root: parityRoot } = way.parity
      const parity = current.parities.find((one) => one.seq === paritySeq && one.root === parityRoot)
      return { ...way, parity: parity ?? way.parity }
    },
    slowDown(parity, slot) {
      for (const contact of parity.holders.get(slot) ?? []) holderOf(contact).slowUntilMs = clock.nowMs() + SLOW_MS
    },
    distrust({ name }) {
      if (!bogus.has(name)) logger.warn('parity.bogus', { root, seq, parity: name })
      bogus.add(name)
    },
    isComplete: () => current.isComplete,
    async askAgain({ signal }) {
      asking ??= survey(client, object, { signal, until: 'complete' })
        .then((next) => {
          current = next.parities.length > 0 ? next : { ...current, isComplete: true }
          for (const holder of holders.values()) holder.lacks.clear()
        })
        .finally(() => (asking = undefined))
      await asking.catch(() => {
        signal.throwIfAborted()
        // Whoever started it may have been aborted: then the next round asks.
        current = { ...current, isComplete: true }
      })
    },
  }
}

type Holder = {
  readonly contact: Contact
  /** Requests under way: the least busy is asked next. */
  openCount: number
  slowUntilMs: number
  isLiar: boolean
  /** Slots that it said it had. */
  readonly lacks: Set<string>
}

const NOTHING: SlotStates = { has: () => false, dead: new Set(), late: new Set() }

function bestOf(holders: readonly Holder[]): Holder | undefined {
  const rank = ({ contact, slowUntilMs, openCount }: Holder): number =>
    Number(contact.isAvoided()) * 1e15 + slowUntilMs + openCount
  return [...holders].sort((a, b) => rank(a) - rank(b))[0]
}
