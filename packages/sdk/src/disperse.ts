import {
  ENTRY_WAIT_MS,
  equal,
  fail as failCore,
  isFailure,
  leafCountOf,
  SEGMENT_CHUNKS,
  SEGMENT_SIZE_BYTES,
  verifyReceipt,
  type Abortable,
  type Address,
  type FileTree,
  type Member,
  type Receipt,
  type Root,
} from '@weightless/core'
import {
  createBatchFeed,
  createBodyBuffers,
  loadBatch,
  planBatches,
  readSpan,
  UPLOAD_BATCH_SEGMENTS,
  type Batch,
  type BatchFeed,
  type BatchReader,
  type BatchSpan,
} from './batches.ts'
import type { Client } from './client.ts'
import type { Contact } from './contacts.ts'
import { fail } from './errors.ts'
import { listFailures, placementOf, type NodeFailure } from './holders.ts'
import { inOrder } from './inOrder.ts'
import { NOBODY } from './membership.ts'
import { createRate, PATIENCE_MS_MAX, withPatience, type Rate } from './rate.ts'
import { retry } from './retry.ts'
import { childScope } from './scope.ts'
import type { ReadAt } from './source.ts'
import type { PutAnswer } from './storageNodeClient.ts'

/** One entry on chain, and the bytes it stands for. */
export type Dispersal = {
  readonly seq: number
  /** Of the entry: a receipt that names another block speaks of one that a reorganisation took away. */
  readonly blockNumber: number
  readonly root: Root
  readonly tree: FileTree
  readonly source: ReadAt
  readonly replicas: number
  /** Some holders may have it already: ask for their receipt before sending. */
  readonly mayBeHeld: boolean
}

/** Requests to one holder at once: one is on its way while the other is written and synced. */
const LANE_WINDOW = 2
/** Batches held for the holders together: the fastest may be this far ahead of the slowest. */
const SHARED_WINDOW = 3
const PUT_ATTEMPTS_MAX = 5
const PUT_DELAY_MS_MIN = 50
const PUT_DELAY_MS_MAX = 1_000
/** A node waits this long for its follower before it answers; then it writes and syncs. */
const PUT_GRACE_MS: number = ENTRY_WAIT_MS + 5_000

/** Brings whole copies of one entry to its homes, or to the next reachable node in the order of a slot, all at the same time.
 *  Returns one verified receipt per holder. Throws `DURABILITY_NOT_REACHED`, naming who failed and why, rather than returning
 *  fewer; `SOURCE_CHANGED` when the holders are right to refuse. */
export async function disperse(
  client: Client,
  what: Dispersal,
  options: Abortable & { readonly onStored?: ((bytes: number) => void) | undefined },
): Promise<readonly Receipt[]> {
  const { root, seq, replicas, tree } = what
  const membership = await client.membership.read(options)
  const { needed, slots } = placementOf(root, membership, replicas)
  const plan = planBatches({ first: 0, last: tree.layout.segmentCount - 1, max: UPLOAD_BATCH_SEGMENTS })
  const scope = childScope(options.signal)
  const job: Job = {
    ...what,
    client,
    plan,
    rate: createRate(),
    feeds: [],
    progress: createProgress(needed, what, options.onStored),
  }
  const failures: NodeFailure[] = []
  const claim = createClaims(client, slots)
  const feed = openFeed(job, SHARED_WINDOW, scope.signal)
  try {
    // All lanes join before the first one starts, so that no batch is dropped before every holder had it.
    const lanes = slots.map((_, slot) => ({ slot, reader: feed.reader(), first: claim(slot) }))
    const results = await Promise.all(
      lanes.map((lane) =>
        runLane(job, lane, claim, failures, scope.signal).catch((error: unknown) => {
          // One lane has found that the upload cannot succeed at all: the others stop.
          scope.end(error)
          throw error
        }),
      ),
    )
    const receipts = distinct(results)
    if (receipts.length >= needed) return receipts
    throw fail('DURABILITY_NOT_REACHED', {
      root,
      seq,
      needed,
      reached: receipts.length,
      failures: listFailures(failures),
    })
  } finally {
    scope.end()
    for (const open of job.feeds) open.end()
  }
}

type Job = Dispersal & {
  readonly client: Client
  readonly plan: readonly BatchSpan[]
  readonly rate: Rate
  readonly feeds: BatchFeed[]
  readonly progress: Progress
}
type Lane = { readonly slot: number; readonly reader: BatchReader; readonly first: Member | undefined }
type Claim = (slot: number) => Member | undefined

/** One slot: its first candidate, then the next ones, until one has signed or nobody is left. */
async function runLane(
  job: Job,
  lane: Lane,
  claim: Claim,
  failures: NodeFailure[],
  signal: AbortSignal,
): Promise<Receipt | undefined> {
  let { reader } = lane
  for (let member = lane.first; member !== undefined; member = claim(lane.slot)) {
    let contact: Contact | undefined
    try {
      contact = job.client.contacts.of(member.endpoint)
      const receipt = await storeAt(job, { member, contact, slot: lane.slot, reader }, signal)
      contact.succeeded()
      reader.leave()
      return receipt
    } catch (error) {
      signal.throwIfAborted()
      if (!isHolderFault(error)) throw error
      contact?.failed(error)
      failures.push({ node: member.endpoint, error })
      job.client.deps.logger.warn('holder.failed', { node: member.endpoint, root: job.root, seq: job.seq, error })
      job.progress.reset(lane.slot)
      if (!reader.isFresh()) {
        // The next holder needs everything from the start, at its own pace.
        reader.leave()
        reader = openFeed(job, LANE_WINDOW, signal).reader()
      }
    }
  }
  reader.leave()
  return undefined
}

type Holder = {
  readonly member: Member
  readonly contact: Contact
  readonly slot: number
  readonly reader: BatchReader
}

async function storeAt(job: Job, holder: Holder, signal: AbortSignal): Promise<Receipt> {
  const { root, seq, plan } = job
  const { contact, slot, reader, member } = holder
  const { registry } = job.client.membership
  const status = await contact.status({ signal })
  const expected = {
    signer: member.signer === NOBODY ? status.signer : member.signer,
    registry: registry ?? status.registry ?? NOBODY,
  }
  if (job.mayBeHeld) {
    const receipt = await contact.node.receipt(root, { seq, slot }, { signal })
    if (receipt !== undefined) {
      job.progress.add(slot, job.source.sizeBytes)
      return checked(job, receipt, expected)
    }
  }
  if (status.readOnly) throw fail('NODE_REFUSED', { node: contact.url, reason: 'its store is read-only' })
  // What an earlier run has brought here is not sent again. Nothing hangs on its word: only a receipt counts in the end.
  const heldCount = job.mayBeHeld ? await contiguousAt(job, contact, signal) : 0
  let receipt: Receipt | undefined
  const answers = inOrder({ count: plan.length, window: LANE_WINDOW, signal }, async (index, scope) => {
    const { from, count } = plan[index]!
    if (from + count <= heldCount) {
      reader.done(index)
      job.progress.add(slot, count * SEGMENT_SIZE_BYTES)
      return { receipt: undefined }
    }
    const batch = await reader.get(index, { signal: scope })
    const answer = await putBatch(job, { contact, slot, spoil: () => reader.spoil(index) }, batch, scope)
    reader.done(index)
    job.progress.add(slot, count * SEGMENT_SIZE_BYTES)
    return answer
  })
  for await (const answer of answers) receipt = answer.receipt ?? receipt
  receipt ??= await contact.node.receipt(root, { seq, slot }, { signal })
  if (receipt === undefined)
    throw fail('NODE_REFUSED', { node: contact.url, reason: 'it took all segments and signs no receipt' })
  return checked(job, receipt, expected)
}

async function contiguousAt({ root, seq }: Job, { node }: Contact, signal: AbortSignal): Promise<number> {
  const entries = await node.entries(root, { signal })
  return entries.find((entry) => entry.seq === seq)?.contiguousSegmentCount ?? 0
}

async function putBatch(
  job: Job,
  to: { readonly contact: Contact; readonly slot: number; readonly spoil: () => void },
  batch: Batch,
  signal: AbortSignal,
): Promise<PutAnswer> {
  const { root, seq, rate } = job
  const { contact, slot, spoil } = to
  const { clock } = job.client.deps
  try {
    return await retry(
      async () => {
        const startMs = clock.nowMs()
        const answer = await withPatience(
          { signal, graceMs: PUT_GRACE_MS, bytes: batch.body.length, what: `segments to ${contact.url}` },
          { clock, rate },
          (scope) =>
            contact.node.putFrames(
              root,
              { seq, slot, body: batch.body },
              { signal: scope, timeoutMs: PATIENCE_MS_MAX },
            ),
        ).catch((error: unknown) => {
          // An attempt that failed may have left a connection that is still sending.
          spoil()
          throw error
        })
        rate.observe(batch.body.length, clock.nowMs() - startMs)
        return answer
      },
      {
        attemptsMax: PUT_ATTEMPTS_MAX,
        delayMsMin: PUT_DELAY_MS_MIN,
        delayMsMax: PUT_DELAY_MS_MAX,
        signal,
        // A node that let a whole deadline pass is replaced, not asked again.
        retryable: (error) => isFailure(error) && error.retryable && error.code !== 'DEADLINE_PASSED',
      },
      job.client.deps,
    )
  } catch (error) {
    if (isFailure(error) && BYTES_REFUSED.has(error.code)) await checkSource(job, batch, signal)
    throw error
  }
}

/** A holder refuses the bytes. If they are no longer those that were rooted, it is right. Throws `SOURCE_CHANGED`. */
async function checkSource(job: Job, span: BatchSpan, signal: AbortSignal): Promise<void> {
  const { tree, source, client } = job
  const { layout } = tree
  const data = await readSpan(source, layout, span, { signal })
  const last = span.from + span.count - 1
  const roots = await client.deps.kernels.segmentRoots(data, {
    lastLeafCount: last === layout.segmentCount - 1 ? leafCountOf(layout, last) : SEGMENT_CHUNKS,
    signal,
  })
  for (let i = 0; i < span.count; i++) {
    if (equal(roots.subarray(32 * i, 32 * (i + 1)), tree.segmentRoot(span.from + i))) continue
    throw fail('SOURCE_CHANGED', { root: job.root, segmentIndex: span.from + i })
  }
}

function checked(
  job: Job,
  receipt: Receipt,
  expected: { readonly signer: Address; readonly registry: Address },
): Receipt {
  const facts = {
    chainId: job.client.network.chainId,
    registry: expected.registry,
    dataRoot: job.root,
    entrySeq: job.seq,
    blockNumber: job.blockNumber,
    signer: expected.signer,
  }
  for (const [name, value] of Object.entries(facts)) {
    const actual = receipt[name as keyof typeof facts]
    if (actual !== value) throw failCore('RECEIPT_INVALID', { reason: `${name} differs`, expected: value, actual })
  }
  verifyReceipt(receipt)
  return receipt
}

/** Errors that another holder may not have. Everything else ends the upload. */
function isHolderFault(error: unknown): boolean {
  return isFailure(error) && (error.blame !== 'caller' || error.code === 'NETWORK_MISMATCH')
}

const BYTES_REFUSED: ReadonlySet<string> = new Set([
  'SEGMENT_PROOF_INVALID',
  'SEGMENT_SIZE_INVALID',
  'SEGMENT_INDEX_INVALID',
  'FRAME_INVALID',
])

/** Candidates of a slot, each member at most once in the whole upload; those that failed lately come last. */
function createClaims(client: Client, slots: readonly (readonly Member[])[]): Claim {
  const taken = new Set<number>()
  // A home that is well belongs to its slot, whoever else looks for a replacement.
  const reserved = new Map(slots.map((members, slot) => [slot, members[0]!]))
  const isReserved = (member: Member, slot: number): boolean =>
    [...reserved].some(([other, home]) => other !== slot && home.id === member.id)
  return (slot) => {
    const free = (slots[slot] ?? []).filter((member) => !taken.has(member.id) && !isReserved(member, slot))
    const chosen = free.find((member) => !isAvoided(client, member)) ?? free[0]
    reserved.delete(slot)
    if (chosen !== undefined) taken.add(chosen.id)
    return chosen
  }
}

function isAvoided(client: Client, member: Member): boolean {
  try {
    return client.contacts.of(member.endpoint).isAvoided()
  } catch {
    return true
  }
}

function openFeed(job: Job, window: number, signal: AbortSignal): BatchFeed {
  const buffers = createBodyBuffers()
  const feed = createBatchFeed(
    { count: job.plan.length, window, signal, release: ({ body }) => buffers.give(body) },
    (index, options) => loadBatch(job.source, job.tree, job.plan[index]!, { ...options, take: buffers.take }),
  )
  job.feeds.push(feed)
  return feed
}

function distinct(results: readonly (Receipt | undefined)[]): readonly Receipt[] {
  const bySigner = new Map<Address, Receipt>()
  for (const receipt of results)
    if (receipt !== undefined && !bySigner.has(receipt.signer)) bySigner.set(receipt.signer, receipt)
  return [...bySigner.values()]
}

/** Bytes that are stored at all holders on average; never goes back, although a replaced holder starts anew. */
type Progress = { add(slot: number, bytes: number): void; reset(slot: number): void }

function createProgress(
  needed: number,
  { source }: Dispersal,
  onStored: ((bytes: number) => void) | undefined,
): Progress {
  const bySlot = new Map<number, number>()
  let told = 0
  return {
    add: (slot, bytes) => {
      bySlot.set(slot, Math.min(source.sizeBytes, (bySlot.get(slot) ?? 0) + bytes))
      const sum = [...bySlot.values()].reduce((total, stored) => total + stored, 0)
      const average = Math.min(source.sizeBytes, Math.floor(sum / Math.max(1, needed)))
      if (average <= told) return
      told = average
      onStored?.(told)
    },
    reset: (slot) => bySlot.delete(slot),
  }
}
