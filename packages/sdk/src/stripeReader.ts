import {
  invariant,
  isFailure,
  layoutOf,
  leafCountOf,
  partialTreeOf,
  planStripe,
  protectedHomes,
  SEGMENT_CHUNKS,
  SEGMENT_SIZE_BYTES,
  segmentDataSize,
  segmentOfShard,
  shardCountOf,
  slotsOf,
  stripesOfSegments,
  type PartialTree,
  type SegmentRange,
  type ShardLayout,
  type StripePlan,
  type WantedStripe,
} from '@weightless/core'
import { createBodyBuffers, DOWNLOAD_BATCH_SEGMENTS, planBatches, type BatchSpan, type BodyBuffers } from './batches.ts'
import { certificateBytesMax } from './certify.ts'
import type { Client } from './client.ts'
import type { Contact } from './contacts.ts'
import { fail } from './errors.ts'
import { listFailures, type NodeFailure } from './holders.ts'
import { mapBounded } from './inOrder.ts'
import type { Located } from './locate.ts'
import { fetchRun, isLie, type ProvenRun, type RootedSegment } from './provenRun.ts'
import { createRate } from './rate.ts'
import { jittered } from './retry.ts'
import { abortable, childScope, childScopes } from './scope.ts'
import { hedgeMs, type SegmentReader } from './segmentReader.ts'
import { survey, type KnownParity, type Survey } from './survey.ts'

/** Who is slow is not preferred for so long; then it may show that it is well again. */
const SLOW_MS = 10_000
/** A node that was away may be back a moment later: so often everybody is asked again before a stripe counts as lost. */
const ROUNDS_MAX = 3
const ROUND_DELAY_MS = 200
/** Bytes of one piece of a download, unless a single stripe has more. */
const PIECE_BYTES: number = 4 * 1024 ** 2
/** Pieces on their way or waiting for the reader, with the shards that they are computed from. */
const WINDOW = 6
const WINDOW_BYTES: number = 96 * 1024 ** 2
/** Ranges whose roots are found out at the same time, and bytes of the stripes that are read for that at once. */
const NEEDS_WINDOW = 4
const WIDEN_BYTES: number = 8 * 1024 ** 2

/** A span of segments in pieces that end where stripes end, small ones first, and how many may be under way. */
export function planPieces(
  { code: { k, m }, segmentCount }: ShardLayout,
  range: { readonly first: number; readonly last: number },
): { readonly plan: readonly BatchSpan[]; readonly window: number } {
  const stripeBytes = k * SEGMENT_SIZE_BYTES
  const max = Math.max(1, Math.min(DOWNLOAD_BATCH_SEGMENTS, Math.floor(PIECE_BYTES / stripeBytes)))
  const stripes = planBatches({ first: Math.floor(range.first / k), last: Math.floor(range.last / k), max })
  const plan = stripes.map(({ from, count }) => {
    const start = Math.max(range.first, from * k)
    const end = Math.min(range.last + 1, (from + count) * k, segmentCount)
    return { from: start, count: end - start }
  })
  // What is wanted, and at worst as much again of shards to compute it from.
  const pieceBytes = max * SEGMENT_SIZE_BYTES * (k + Math.min(k, m))
  return { plan, window: Math.max(1, Math.min(WINDOW, Math.floor(WINDOW_BYTES / pieceBytes))) }
}

/** Reads an object by its shards: each data segment from whoever has it, a missing one computed from any k shards of its stripe. All
 *  is proven against the data root before it is returned. A slow holder is made up for by parity like one that is away; parity that
 *  turns out to be of other bytes is not used again.
 *
 *  `read` throws `SHARDS_LOST`, naming the stripe, the slots that are missing and who would help. */
export function createStripeReader(
  client: Client,
  object: Pick<Located, 'root' | 'seq' | 'sizeBytes'>,
  found: Survey,
  options: { readonly take?: BodyBuffers['take'] | undefined } = {},
): SegmentReader {
  const { root, seq, sizeBytes } = object
  const { clock, random, kernels, logger, net } = client.deps
  const layout = layoutOf(sizeBytes)
  const rate = createRate()
  const holders = new Map<Contact, Holder>()
  const bogus = new Set<string>()
  /** Runs are copied to their places and let go of at once, so their buffers serve again. */
  const buffers = net.getInto === undefined ? undefined : createBodyBuffers('shared')
  let current = found
  let asking: Promise<void> | undefined
  let tree: PartialTree | undefined
  /** Roots of segments that were computed only to bear out others, and not yet borne out themselves. */
  const claims = new Map<number, Uint8Array>()
  let widening: Promise<unknown> = Promise.resolve()

  async function read(span: BatchSpan, { signal }: { readonly signal: AbortSignal }): Promise<Uint8Array> {
    const failures: NodeFailure[] = []
    for (let round = 1; ;) {
      try {
        return await readPiece(span, failures, signal)
      } catch (error) {
        signal.throwIfAborted()
        if (error instanceof BogusParity) {
          if (!bogus.has(error.name)) logger.warn('parity.bogus', { root, seq, parity: error.name })
          bogus.add(error.name)
          claims.clear()
          continue
        }
        if (!isFailure(error, 'SHARDS_LOST') || round >= ROUNDS_MAX) throw error
        await clock.sleep(jittered(ROUND_DELAY_MS * 2 ** (round - 1), random), { signal })
        await askAgain(signal)
        round += 1
      }
    }
  }

  /** Once for all pieces that miss something. */
  async function askAgain(signal: AbortSignal): Promise<void> {
    asking ??= survey(client, object, { signal })
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
  }

  async function readPiece(span: BatchSpan, failures: NodeFailure[], signal: AbortSignal): Promise<Uint8Array> {
    let way = wayTo(span)
    if (!isReadable(way, span) && !current.isComplete) {
      // Those who were asked do not suffice.
      await askAgain(signal)
      way = wayTo(span)
    }
    const { parity } = way
    const stripes = [...stripesOfSegments(parity.layout, { from: span.from, to: span.from + span.count })]
    const gathered = await gather(way, stripes, failures, signal)
    const piece = (
      options.take?.(span.count * SEGMENT_SIZE_BYTES) ?? new Uint8Array(span.count * SEGMENT_SIZE_BYTES)
    ).subarray(0, span.count * SEGMENT_SIZE_BYTES)
    const placeOf = (index: number): Uint8Array => {
      const at = (index - span.from) * SEGMENT_SIZE_BYTES
      return piece.subarray(at, at + SEGMENT_SIZE_BYTES)
    }
    for (const plan of gathered.plans) {
      for (const slot of plan.direct) {
        const { index, data } = gathered.have.get(nameOf(plan.stripe, slot))!
        placeOf(index).set(data)
      }
    }
    const rebuilt = await rebuild(parity, gathered, placeOf, signal)
    if (rebuilt.size > 0) await bearOut(way, gathered, rebuilt, failures, signal)
    for (const { data } of gathered.runs) buffers?.give(data)
    const last = span.from + span.count - 1
    return piece.subarray(0, (span.count - 1) * SEGMENT_SIZE_BYTES + segmentDataSize(layout, last))
  }

  /** The first way that has all of the span; else the first one at all, which says what is missing. */
  function wayTo(span: BatchSpan): Way {
    const ways = current.parities.map((parity): Way => {
      const name = `${parity.seq} ${parity.root}`
      return { parity, name, isBogus: bogus.has(name) }
    })
    invariant(ways.length > 0, 'a reader by shards knows how they are laid out')
    return ways.find((way) => isReadable(way, span)) ?? ways.find(({ isBogus }) => !isBogus) ?? ways[0]!
  }

  function isReadable(way: Way, span: BatchSpan): boolean {
    const stripes = stripesOfSegments(way.parity.layout, { from: span.from, to: span.from + span.count })
    return [...stripes].every((wanted) => planFor(way, wanted, NOTHING).kind === 'read')
  }

  /** The same parity with all holders that are known by now. */
  function latest(way: Way): Way {
    const { seq, root } = way.parity
    return { ...way, parity: current.parities.find((one) => one.seq === seq && one.root === root) ?? way.parity }
  }

  function planFor({ parity, isBogus }: Way, wanted: WantedStripe, now: Progress): StripePlan {
    const { k } = parity.layout.code
    const preferred: number[] = []
    const avoided: number[] = []
    const slots = [...parity.holders.keys()].sort((a, b) => a - b)
    // What is there already costs nothing.
    for (const slot of slots) if (now.have.has(nameOf(wanted.stripe, slot))) preferred.push(slot)
    for (const slot of slots) {
      if ((slot >= k && isBogus) || now.dead.has(slot)) continue
      const usable = parity.holders
        .get(slot)!
        .map(holderOf)
        .filter((holder) => isUsable(holder, parity, slot))
      if (usable.length === 0) continue
      const isWell =
        !now.late.has(slot) &&
        usable.some(({ contact, slowUntilMs }) => !contact.isAvoided() && slowUntilMs < clock.nowMs())
      if (isWell) preferred.push(slot)
      else avoided.push(slot)
    }
    return planStripe(parity.layout, wanted, { preferred, avoided })
  }

  function holderOf(contact: Contact): Holder {
    const holder = holders.get(contact) ?? { contact, openCount: 0, slowUntilMs: 0, isLiar: false, lacks: new Set() }
    holders.set(contact, holder)
    return holder
  }

  /** Fetches until every stripe can be read or computed. A slot that is late is made up for by others while it is waited for. */
  async function gather(
    way: Way,
    stripes: readonly WantedStripe[],
    failures: NodeFailure[],
    outer: AbortSignal,
  ): Promise<Gathered> {
    const scope = childScope(outer)
    const scopes = childScopes(scope.signal)
    const now: Progress = { have: new Map(), dead: new Set(), late: new Set() }
    const runs: ProvenRun[] = []
    const open = new Set<string>()
    let wake: () => void = () => undefined
    let broken: unknown
    let isAsking = false
    const begin = (slot: number, run: StripeRun): void => {
      const name = `${slot} ${run.from} ${run.count}`
      const names = Array.from({ length: run.count }, (_, i) => nameOf(run.from + i, slot))
      for (const one of names) open.add(one)
      const child = scopes.child()
      const timer = scopes.child()
      clock.sleep(hedgeMs(rate, run.count * SEGMENT_SIZE_BYTES), { signal: timer.signal }).then(
        () => {
          now.late.add(slot)
          logger.debug('slot.late', { root, run: name })
          wake()
        },
        () => undefined,
      )
      fetchSlot(latest(way).parity, slot, run, failures, child.signal)
        .then(
          (fetched) => {
            if (fetched === undefined) now.dead.add(slot)
            else {
              runs.push(fetched)
              fetched.segments.forEach((segment, i) => now.have.set(nameOf(run.from + i, slot), segment))
            }
          },
          (error: unknown) => void (broken ??= error),
        )
        .finally(() => {
          for (const one of names) open.delete(one)
          timer.end()
          child.end()
          wake()
        })
        .catch(() => undefined)
    }
    try {
      for (;;) {
        outer.throwIfAborted()
        if (broken !== undefined) throw broken
        const { parity } = latest(way)
        const plans = stripes.map((wanted) => planFor(latest(way), wanted, now))
        const lost = plans.find((plan) => plan.kind === 'lost')
        if (lost !== undefined && current.isComplete) throw await lostStripe(parity, lost, failures, outer)
        // Only as many were asked as all seemed to need: now others are needed, and not at the end of a long wait.
        const isShort = lost !== undefined || now.late.size + now.dead.size > 0
        if (isShort && !current.isComplete && !isAsking) {
          isAsking = true
          void askAgain(outer)
            .catch((error: unknown) => void (broken ??= error))
            .then(() => {
              isAsking = false
              wake()
            })
        }
        const ready = plans.filter((plan) => plan.kind === 'read')
        const missing = new Map<number, number[]>()
        for (const { stripe, direct, helpers } of ready)
          for (const slot of [...direct, ...helpers])
            if (!now.have.has(nameOf(stripe, slot))) missing.set(slot, [...(missing.get(slot) ?? []), stripe])
        if (lost === undefined && missing.size === 0) {
          for (const slot of now.late) slowDown(parity, slot, now)
          return { plans: ready, have: now.have, runs }
        }
        const woken = new Promise<void>((resolve) => (wake = resolve))
        for (const [slot, wanted] of missing)
          for (const run of runsOf(wanted.filter((stripe) => !open.has(nameOf(stripe, slot))))) begin(slot, run)
        await abortable(woken, { signal: outer })
      }
    } finally {
      scopes.end()
      scope.end()
    }
  }

  /** Who let others do its work is not asked first for a while. */
  function slowDown(parity: KnownParity, slot: number, { have }: Progress): void {
    if ([...have.keys()].some((name) => name.endsWith(` ${slot}`))) return
    for (const contact of parity.holders.get(slot) ?? []) holderOf(contact).slowUntilMs = clock.nowMs() + SLOW_MS
  }

  /** From the best holder of a slot, then from the others. `undefined`: nobody has it. */
  async function fetchSlot(
    parity: KnownParity,
    slot: number,
    stripes: StripeRun,
    failures: NodeFailure[],
    signal: AbortSignal,
  ): Promise<ProvenRun | undefined> {
    const { k, m } = parity.layout.code
    const isData = slot < k
    const file = isData
      ? { root, seq, sizeBytes }
      : { root: parity.root, seq: parity.seq, sizeBytes: parity.layout.paritySizeBytes }
    const { segmentIndex } = segmentOfShard(parity.layout, { stripe: stripes.from, slot })!
    const run = { from: segmentIndex, count: stripes.count, step: stripes.count === 1 ? 1 : isData ? k : m }
    const tried = new Set<Holder>()
    for (;;) {
      const holder = bestOf(
        parity.holders
          .get(slot)!
          .map(holderOf)
          .filter((one) => !tried.has(one) && isUsable(one, parity, slot)),
      )
      if (holder === undefined) return undefined
      tried.add(holder)
      holder.openCount += 1
      try {
        const fetched = await fetchRun(client, holder.contact, { file, run }, { signal, rate, take: buffers?.take })
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

  /** Computes what no holder gave, and its root. */
  async function rebuild(
    parity: KnownParity,
    { plans, have }: Gathered,
    placeOf: (segmentIndex: number) => Uint8Array,
    signal: AbortSignal,
  ): Promise<ReadonlyMap<number, Uint8Array>> {
    const { code } = parity.layout
    const roots = new Map<number, Uint8Array>()
    for (const { stripe, direct, helpers, rebuilt } of plans) {
      if (rebuilt.length === 0) continue
      const used = new Set([...direct, ...helpers])
      const shards = Array.from({ length: code.k + code.m }, (_, slot) => {
        if (stripe >= shardCountOf(parity.layout, slot)) return 'zero' as const
        return used.has(slot) ? extended(have.get(nameOf(stripe, slot))!.data) : undefined
      })
      const wanted = rebuilt.map((slot) => {
        const { segmentIndex } = segmentOfShard(parity.layout, { stripe, slot })!
        return { slot, segmentIndex, into: placeOf(segmentIndex) }
      })
      await kernels.recover({ code, shards, wanted }, { signal })
      for (const { segmentIndex, into } of wanted)
        roots.set(segmentIndex, await rootOfSegment(segmentIndex, into, signal))
    }
    return roots
  }

  async function rootOfSegment(index: number, shard: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
    const isLast = index === layout.segmentCount - 1
    const lastLeafCount = isLast ? leafCountOf(layout, index) : SEGMENT_CHUNKS
    // A copy where a pool may take the memory away: the piece goes on to the reader.
    const data = shard.subarray(0, segmentDataSize(layout, index))
    const own = data.buffer instanceof ArrayBuffer ? data.slice() : data
    return kernels.segmentRoots(own, { lastLeafCount, signal })
  }

  /** Nothing that was computed is returned before the data root bears it out, by the proofs of other segments. Where these do not
   *  say enough more are fetched, and where nobody has any, the stripes around are computed too. */
  async function bearOut(
    way: Way,
    gathered: Gathered,
    rebuilt: ReadonlyMap<number, Uint8Array>,
    failures: NodeFailure[],
    signal: AbortSignal,
  ): Promise<void> {
    tree ??= partialTreeOf({ root, sizeBytes })
    learn(tree, way.parity, gathered)
    if (judge(way, tree, rebuilt) === undefined) return
    // One after the other: what one piece finds out serves the others.
    const turn = widening.catch(() => undefined).then(() => widen(way, tree!, rebuilt, failures, signal))
    widening = turn
    await turn
  }

  async function widen(
    way: Way,
    known: PartialTree,
    rebuilt: ReadonlyMap<number, Uint8Array>,
    failures: NodeFailure[],
    signal: AbortSignal,
  ): Promise<void> {
    for (;;) {
      signal.throwIfAborted()
      const needs = judge(way, known, claims.size === 0 ? rebuilt : new Map([...claims, ...rebuilt]), rebuilt)
      if (needs === undefined) return
      await mapBounded(needs, { window: NEEDS_WINDOW, signal }, (range, scope) =>
        settle(way, known, range, failures, scope),
      )
    }
  }

  /** What is still needed; `undefined` when all of `wanted` is borne out. Throws `BogusParity`. */
  function judge(
    { name }: Way,
    known: PartialTree,
    all: ReadonlyMap<number, Uint8Array>,
    wanted: ReadonlyMap<number, Uint8Array> = all,
  ): readonly SegmentRange[] | undefined {
    const result = known.confirm(all)
    if (result.kind === 'wrong') throw new BogusParity(name)
    if (result.kind === 'right') {
      claims.clear()
      return undefined
    }
    return result.segments.some((index) => wanted.has(index)) ? result.needs : undefined
  }

  /** One proven segment of the range, from whoever has one; else the roots of all of them. */
  async function settle(
    way: Way,
    known: PartialTree,
    range: SegmentRange,
    failures: NodeFailure[],
    signal: AbortSignal,
  ): Promise<void> {
    const { parity } = way
    const { k } = parity.layout.code
    for (let index = range.from; index < Math.min(range.to, range.from + k); index++) {
      const at = { stripe: Math.floor(index / k), slot: index % k }
      if (!parity.holders.has(at.slot)) continue
      const fetched = await fetchSlot(parity, at.slot, { from: at.stripe, count: 1 }, failures, signal)
      if (fetched === undefined) continue
      const [segment] = fetched.segments
      known.learn(segment!.index, segment!.root, segment!.proof)
      return
    }
    const batch = Math.max(1, Math.floor(WIDEN_BYTES / (k * SEGMENT_SIZE_BYTES))) * k
    for (let from = range.from; from < range.to; from += batch - (from % k)) {
      const to = Math.min(range.to, from + batch - (from % k))
      const stripes = [...stripesOfSegments(parity.layout, { from, to })]
      const gathered = await gather(way, stripes, failures, signal)
      learn(known, parity, gathered)
      const scratch = new Uint8Array((to - from) * SEGMENT_SIZE_BYTES)
      const placeOf = (index: number): Uint8Array =>
        scratch.subarray((index - from) * SEGMENT_SIZE_BYTES, (index - from + 1) * SEGMENT_SIZE_BYTES)
      for (const [index, hash] of await rebuild(parity, gathered, placeOf, signal)) claims.set(index, hash)
      // Segments that came with a proof say all about the range.
      if (gathered.plans.some(({ direct }) => direct.length > 0)) return
    }
  }

  function learn(known: PartialTree, parity: KnownParity, { have }: Gathered): void {
    for (const [name, segment] of have)
      if (Number(name.split(' ')[1]) < parity.layout.code.k) known.learn(segment.index, segment.root, segment.proof)
  }

  async function lostStripe(
    parity: KnownParity,
    plan: Extract<StripePlan, { kind: 'lost' }>,
    failures: readonly NodeFailure[],
    signal: AbortSignal,
  ): Promise<Error> {
    const { members } = await client.membership.read({ signal })
    const signed = await signedHolders(parity, signal)
    const homes = protectedHomes({ dataRoot: root, sizeBytes, code: parity.layout.code }, members)
    const helpers = plan.wouldHelp.map((slot) => {
      const known = parity.holders.get(slot)?.map(({ url }) => url)
      const home = homes.find((one) => one.slot === slot)?.member.endpoint
      return `slot ${slot} at ${known?.join(' or ') ?? signed.get(slot) ?? home ?? 'nobody'}`
    })
    const latest = failures.filter(({ node }, i) => failures.findLastIndex((other) => other.node === node) === i)
    return fail('SHARDS_LOST', {
      root,
      seq,
      stripe: plan.stripe,
      missingSlots: plan.missing.join(),
      shortBy: plan.shortBy,
      wouldHelp: helpers.slice(0, HELPERS_LISTED_MAX).join('; '),
      failures: listFailures(latest),
    })
  }

  /** Who signed for which slot, as a certificate says that some holder keeps: for a person to look after these nodes, so nothing of
   *  it is verified. */
  async function signedHolders(parity: KnownParity, signal: AbortSignal): Promise<ReadonlyMap<number, string>> {
    const contacts = new Set([...parity.holders.values()].flat())
    for (const { node } of [...contacts].slice(0, CERTIFICATES_ASKED_MAX)) {
      try {
        if (seq === undefined) break
        const what = { seq, sizeBytesMax: certificateBytesMax({ sizeBytes, code: parity.layout.code }) }
        const certificate = await node.certificate(root, what, { signal })
        if (certificate?.parity?.root !== parity.root) continue
        const members = certificate.members.flatMap((list) => list.members)
        return new Map(
          certificate.receipts.flatMap(({ signer, slots }) => {
            const endpoint = members.find((member) => member.signer === signer)?.endpoint
            return endpoint === undefined ? [] : slotsOf(slots).map((slot) => [slot, endpoint] as const)
          }),
        )
      } catch (error) {
        signal.throwIfAborted()
        if (!isFailure(error)) throw error
      }
    }
    return new Map()
  }

  return { read }
}

/** Certificates are asked for only to name nodes. */
const CERTIFICATES_ASKED_MAX = 3
/** A person reads a few. */
const HELPERS_LISTED_MAX = 16

/** One parity to read with, or, once it is known to be bogus, the data slots that it names alone. */
type Way = { readonly parity: KnownParity; readonly name: string; readonly isBogus: boolean }
type Holder = {
  readonly contact: Contact
  /** Requests under way: the least busy is asked next. */
  openCount: number
  slowUntilMs: number
  isLiar: boolean
  /** Slots that it said it had. */
  readonly lacks: Set<string>
}
type StripeRun = { readonly from: number; readonly count: number }
type Progress = {
  /** Shards by stripe and slot. */
  readonly have: Map<string, RootedSegment>
  /** Slots that no holder gave. */
  readonly dead: Set<number>
  readonly late: Set<number>
}
type Gathered = {
  readonly plans: readonly Extract<StripePlan, { kind: 'read' }>[]
  readonly have: ReadonlyMap<string, RootedSegment>
  readonly runs: readonly ProvenRun[]
}

const NOTHING: Progress = { have: new Map(), dead: new Set(), late: new Set() }

/** Data and parity are each proven by their root, and do not belong together. */
class BogusParity extends Error {
  constructor(name: string) {
    super('parity of other bytes')
    this.name = name
  }
}

function nameOf(stripe: number, slot: number): string {
  return `${stripe} ${slot}`
}

function isUsable({ isLiar, lacks }: Holder, parity: KnownParity, slot: number): boolean {
  return !isLiar && !lacks.has(`${parity.seq} ${slot}`)
}

function bestOf(holders: readonly Holder[]): Holder | undefined {
  const rank = ({ contact, slowUntilMs, openCount }: Holder): number =>
    Number(contact.isAvoided()) * 1e15 + slowUntilMs + openCount
  return [...holders].sort((a, b) => rank(a) - rank(b))[0]
}

/** Ascending stripes as runs that one request can name. */
function runsOf(stripes: readonly number[]): readonly StripeRun[] {
  const runs: { from: number; count: number }[] = []
  for (const stripe of stripes) {
    const last = runs[runs.length - 1]
    if (last !== undefined && last.from + last.count === stripe && last.count < DOWNLOAD_BATCH_SEGMENTS) last.count += 1
    else runs.push({ from: stripe, count: 1 })
  }
  return runs
}

/** The last segment is shorter on the wire than in the equations. */
function extended(data: Uint8Array): Uint8Array {
  if (data.length === SEGMENT_SIZE_BYTES) return data
  const shard = new Uint8Array(SEGMENT_SIZE_BYTES)
  shard.set(data)
  return shard
}
