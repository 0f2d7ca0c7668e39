import {
  checkFingerprints,
  equal,
  fail as failCore,
  fingerprintsSizeOf,
  presentSlots,
  SEGMENT_SIZE_BYTES,
  slotsOf,
  type Abortable,
  type Certificate,
  type CertificateFacts,
  type Member,
  type Receipt,
} from '@weightless/core'
import {
  createBatchFeed,
  createBodyBuffers,
  UPLOAD_BATCH_SEGMENTS,
  type BatchFeed,
  type BatchReader,
} from './batches.ts'
import { certify, handOut } from './certify.ts'
import { createClaims, type Claims } from './claims.ts'
import type { Client } from './client.ts'
import type { Contact } from './contacts.ts'
import { checkSource, createProgress, isHolderFault, LANE_WINDOW, type Progress } from './disperse.ts'
import { fail } from './errors.ts'
import { codedPlacementOf, listFailures, type NodeFailure } from './holders.ts'
import { inOrder } from './inOrder.ts'
import { createOwnFingerprints, type OwnFingerprints } from './ownFingerprints.ts'
import { createRate, type Rate } from './rate.ts'
import { childScope, childScopes } from './scope.ts'
import { isRefusalOfBytes, sendBody } from './sendBody.ts'
import { checkSigned } from './signedBy.ts'
import type { ShardsAnswer, SignedShards } from './storageNodeClient.ts'
import { loadStripes, planStripes, type CodedObject, type StripeBatch } from './stripes.ts'

/** One coded object whose two entries are on chain, and the bytes it stands for. */
export type ShardDispersal = CodedObject & {
  readonly seq: number
  /** Of the data entry: a receipt that names another block speaks of one that a reorganisation took away. */
  readonly blockNumber: number
  readonly parity: CodedObject['parity'] & { readonly seq: number }
  /** Some holders may have their shards already: ask for their receipt before sending. */
  readonly mayBeHeld: boolean
  /** Losses that the object must survive to be durable; those of its code by default. */
  readonly lossesNeeded?: number | undefined
}

export type ShardsStored = {
  readonly receipts: readonly Receipt[]
  readonly certificate: Certificate
  readonly lossesSurvived: number
}

/** A holder reads its shards back to sign for them, if it must. */
const SHARDS_TIMEOUT_MS = 120_000

/** Brings the shards of an object to the homes of its slots, each slot to one node, all at the same time; where a home fails, to the
 *  next reachable node in the order of the slot. Stripes are read and coded once for all. When nodes are too few, data slots take
 *  those of parity, the last one first. Every receipt is measured by fingerprints of our own.
 *
 *  Returns the certificate, which every holder has been given. Throws `DURABILITY_NOT_REACHED`, naming who failed and which slots
 *  have no holder, rather than returning less than `protectionOf` calls durable; `SOURCE_CHANGED` when the holders are right to
 *  refuse. */
export async function disperseShards(
  client: Client,
  what: ShardDispersal,
  options: Abortable & { readonly onStored?: ((bytes: number) => void) | undefined },
): Promise<ShardsStored> {
  const { root, seq, parity, tree, layout } = what
  const { sizeBytes } = tree.layout
  const membership = await client.membership.read(options)
  const { slots } = codedPlacementOf({ root, sizeBytes, code: layout.code }, membership)
  const scope = childScope(options.signal)
  const { plan, window } = planStripes(layout)
  const job: Job = {
    ...what,
    client,
    scope: scope.signal,
    plan,
    rate: createRate(),
    claims: createClaims(client, slots),
    own: createOwnFingerprints(what, client.deps),
    feeds: [],
    failures: [],
    progress: createProgress(slots.length, sizeBytes, options.onStored),
    lanes: [],
    completing: undefined,
  }
  const feed = openFeed(job, { window, slots: slots.map(({ slot }) => slot) }, scope.signal)
  const laneScopes = childScopes(scope.signal)
  try {
    // All lanes join before the first one starts, so that no batch is dropped before every holder had it.
    for (const { slot } of slots) {
      const first = job.claims.next(slot)
      job.lanes.push({ slot, reader: feed.reader(), scope: laneScopes.child(), holder: first, held: undefined })
    }
    await Promise.all(
      job.lanes.map((lane) =>
        runLane(job, lane, scope.signal).catch((error: unknown) => {
          // One lane has found that the upload cannot succeed at all: the others stop.
          scope.end(error)
          throw error
        }),
      ),
    )
    const held = job.lanes.flatMap((lane) => lane.held ?? [])
    if (held.length === 0) throw notReached(job, undefined)
    const object = { dataRoot: root, entrySeq: seq, sizeBytes, code: layout.code }
    const { certificate, facts } = await certify(
      client,
      { ...object, parity: { root: parity.root, seq: parity.seq } },
      held,
      { signal: scope.signal, membership, known: job.own.data(), lossesNeeded: what.lossesNeeded },
    )
    if (!facts.isDurable) throw notReached(job, facts)
    options.onStored?.(sizeBytes)
    const endpoints = facts.holders.map(({ member }) => member.endpoint)
    await handOut(client, certificate, endpoints, { signal: scope.signal })
    return { receipts: certificate.receipts, certificate, lossesSurvived: facts.lossesSurvived }
  } finally {
    laneScopes.end()
    scope.end()
    for (const open of job.feeds) open.end()
  }
}

type Job = ShardDispersal & {
  readonly client: Client
  readonly scope: AbortSignal
  readonly plan: ReturnType<typeof planStripes>['plan']
  readonly rate: Rate
  readonly claims: Claims
  readonly own: OwnFingerprints
  readonly feeds: BatchFeed<StripeBatch>[]
  readonly failures: NodeFailure[]
  readonly progress: Progress
  readonly lanes: Lane[]
  /** The reading of stripes for their fingerprints alone, once for all lanes. */
  completing: Promise<void> | undefined
}
/** One slot. Without a holder it has come to an end: nobody is left, or its holder went to a data slot. */
type Lane = {
  readonly slot: number
  readonly reader: BatchReader<StripeBatch>
  readonly scope: ReturnType<typeof childScope>
  holder: Member | undefined
  held: SignedShards | undefined
}

/** The reason of a lane's end whose holder is needed elsewhere. */
const NEEDED_ELSEWHERE: Error = new Error('its holder takes a data slot')

/** Its first candidate, then the next ones, until one has signed or nobody is left. */
async function runLane(job: Job, lane: Lane, signal: AbortSignal): Promise<void> {
  let { reader } = lane
  while (lane.holder !== undefined) {
    const member = lane.holder
    let contact: Contact | undefined
    try {
      contact = job.client.contacts.of(member.endpoint)
      const held = await storeAt(job, { member, contact, slot: lane.slot, reader }, lane.scope.signal)
      contact.succeeded()
      if (lane.holder === member) lane.held = held
      break
    } catch (error) {
      signal.throwIfAborted()
      if (lane.scope.signal.aborted) break
      if (!isHolderFault(error)) throw error
      contact?.failed(error)
      job.failures.push({ node: member.endpoint, error })
      job.client.deps.logger.warn('holder.failed', {
        node: member.endpoint,
        root: job.root,
        seq: job.seq,
        slot: lane.slot,
        error,
      })
      job.progress.reset(lane.slot)
      lane.holder = job.claims.next(lane.slot) ?? takeFromParity(job, lane)
      if (lane.holder !== undefined && !reader.isFresh()) {
        // The next holder needs everything from the start, at its own pace.
        reader.leave()
        reader = openFeed(job, { window: LANE_WINDOW, slots: [lane.slot] }, signal).reader()
      }
    }
  }
  reader.leave()
}

/** Parity of incomplete data proves nothing: a data slot without a candidate takes the holder of the last parity slot. */
function takeFromParity({ lanes, layout }: Job, lane: Lane): Member | undefined {
  const { k } = layout.code
  if (lane.slot >= k) return undefined
  const loser = [...lanes].reverse().find(({ slot, holder }) => slot >= k && holder !== undefined)
  if (loser === undefined) return undefined
  const member = loser.holder
  loser.holder = undefined
  loser.held = undefined
  loser.scope.end(NEEDED_ELSEWHERE)
  return member
}

type Holder = {
  readonly member: Member
  readonly contact: Contact
  readonly slot: number
  readonly reader: BatchReader<StripeBatch>
}

async function storeAt(job: Job, holder: Holder, signal: AbortSignal): Promise<SignedShards> {
  const { root, seq, parity, plan, layout } = job
  const { contact, slot, reader, member } = holder
  const status = await contact.status({ signal })
  const ask = (): Promise<ShardsAnswer> =>
    contact.node.shards(
      root,
      { seq, parity: parity.seq, slots: [slot], fingerprintBytesMax: fingerprintsSizeOf(layout, [slot]) },
      { signal, timeoutMs: SHARDS_TIMEOUT_MS },
    )
  const check = async (held: SignedShards): Promise<SignedShards> => {
    checkSigned(job.client, job, { member, status }, held.receipt)
    await checkHeld(job, slot, held, signal)
    return held
  }
  // What an earlier run has brought here is not sent again. Nothing hangs on its word: only a receipt counts in the end.
  let heldStripeCount = 0
  if (job.mayBeHeld) {
    const answer = await ask()
    if (answer.kind === 'signed') {
      job.progress.add(slot, job.tree.layout.sizeBytes)
      return check(answer.held)
    }
    heldStripeCount = answer.heldStripeCount
  }
  if (status.readOnly) throw fail('NODE_REFUSED', { node: contact.url, reason: 'its store is read-only' })
  const stored = inOrder({ count: plan.length, window: LANE_WINDOW, signal }, async (index, scope) => {
    const { from, count } = plan[index]!
    if (from + count > heldStripeCount) {
      const batch = await reader.get(index, { signal: scope })
      const body = batch.bodies.get(slot)
      if (body !== undefined) await put(job, holder, { batch, body, spoil: () => reader.spoil(index) }, scope)
    }
    reader.done(index)
    job.progress.add(slot, count * SEGMENT_SIZE_BYTES * layout.dataSlotCount)
  })
  for await (const _ of stored);
  const answer = await ask()
  if (answer.kind === 'incomplete')
    throw fail('NODE_REFUSED', { node: contact.url, reason: 'it took all shards and signs no receipt' })
  return check(answer.held)
}

async function put(
  job: Job,
  { contact, slot }: Holder,
  what: { readonly batch: StripeBatch; readonly body: Uint8Array; readonly spoil: () => void },
  signal: AbortSignal,
): Promise<void> {
  const { client, rate, layout, parity } = job
  const { batch, body, spoil } = what
  const of = slot < layout.code.k ? job : parity
  try {
    await sendBody(client, contact, { root: of.root, seq: of.seq, slot, body, spoil }, { rate, signal })
  } catch (error) {
    if (isRefusalOfBytes(error)) await checkStripes(job, batch, signal)
    throw error
  }
}

/** A holder refuses the bytes. If the source is no longer what was rooted, it is right, of parity too. Throws `SOURCE_CHANGED`. */
async function checkStripes(job: Job, batch: StripeBatch, signal: AbortSignal): Promise<void> {
  const { k } = job.layout.code
  const end = Math.min(job.layout.segmentCount, (batch.from + batch.count) * k)
  for (let from = batch.from * k; from < end; from += UPLOAD_BATCH_SEGMENTS)
    await checkSource(job, { from, count: Math.min(UPLOAD_BATCH_SEGMENTS, end - from) }, signal)
}

/** Exactly this slot, and the fingerprints that its shards have. Throws `RECEIPT_INVALID`. */
async function checkHeld(
  job: Job,
  slot: number,
  { receipt, fingerprints }: SignedShards,
  signal: AbortSignal,
): Promise<void> {
  const { layout, parity, own } = job
  const refuse = (reason: string) => failCore('RECEIPT_INVALID', { reason, signer: receipt.signer, slot })
  if (slotsOf(receipt.slots).join() !== String(slot)) throw refuse('it is for other slots than asked for')
  checkFingerprints({ layout, parityRoot: parity.root }, receipt, fingerprints)
  job.completing ??= completeOwn(job, job.scope)
  await job.completing
  if (!equal(await own.ofSlot(slot, { signal }), fingerprints))
    throw refuse('the fingerprints are not those of the shards that were sent')
}

/** What was not read for anybody, because all had it, is read for the fingerprints alone. */
async function completeOwn(job: Job, signal: AbortSignal): Promise<void> {
  const { own } = job
  const { take } = createBodyBuffers()
  for (const stripe of own.missing()) {
    const onData = (at: number, rows: Parameters<OwnFingerprints['add']>[1]): Promise<void> =>
      own.add(at, rows, { signal })
    await loadStripes(job, { span: { from: stripe, count: 1 }, slots: [] }, job.client.deps, { signal, take, onData })
  }
}

function openFeed(
  job: Job,
  { window, slots }: { readonly window: number; readonly slots: readonly number[] },
  signal: AbortSignal,
): BatchFeed<StripeBatch> {
  // Worker threads code what they share where it lies. A platform's request takes no shared bytes, its stream does.
  const buffers = createBodyBuffers(job.client.bodies === 'stream' ? 'shared' : 'own')
  const isShared = slots.length > 1
  const feed = createBatchFeed<StripeBatch>(
    {
      count: job.plan.length,
      window,
      signal,
      release: ({ bodies }) => bodies.forEach((body) => buffers.give(body)),
    },
    (index, options) =>
      loadStripes(job, { span: job.plan[index]!, slots }, job.client.deps, {
        ...options,
        take: buffers.take,
        ...(isShared ? { onData: (stripe, rows) => job.own.add(stripe, rows, options) } : {}),
      }),
  )
  job.feeds.push(feed)
  return feed
}

function notReached(job: Job, facts: CertificateFacts | undefined): Error {
  const { root, seq, layout, lanes, failures, lossesNeeded } = job
  const object = { root, sizeBytes: job.tree.layout.sizeBytes, code: layout.code, lossesNeeded }
  const held = facts === undefined ? [] : facts.holders.flatMap(({ slots }) => slots)
  const missing = presentSlots(layout).filter((slot) => !held.includes(slot))
  return fail('DURABILITY_NOT_REACHED', {
    root,
    seq,
    needed: facts?.needed ?? codedPlacementOf(object, EMPTY).needed,
    reached: facts?.reached ?? 0,
    missingSlots: missing.join(),
    holders: lanes
      .flatMap(({ slot, holder, held }) => (held && holder ? [`slot ${slot} at ${holder.endpoint}`] : []))
      .join('; '),
    failures: listFailures(failures),
  })
}

const EMPTY = { version: 0, members: [] }
