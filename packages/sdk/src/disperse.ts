import {
  equal,
  isFailure,
  leafCountOf,
  SEGMENT_CHUNKS,
  SEGMENT_SIZE_BYTES,
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
import { createClaims, type Claims } from './claims.ts'
import type { Client } from './client.ts'
import type { Contact } from './contacts.ts'
import { fail } from './errors.ts'
import { listFailures, placementOf, type NodeFailure } from './holders.ts'
import { inOrder } from './inOrder.ts'
import { createRate, type Rate } from './rate.ts'
import { childScope } from './scope.ts'
import { isRefusalOfBytes, sendBody } from './sendBody.ts'
import { checkSigned } from './signedBy.ts'
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
  /** Copies that must be signed for: as many as there are nodes for by default. */
  readonly needed?: number | undefined
  /** Some holders may have it already: ask for their receipt before sending. */
  readonly mayBeHeld: boolean
}

/** Requests to one holder at once: one is on its way while the other is written and synced. */
export const LANE_WINDOW = 2
/** Batches held for the holders together: the fastest may be this far ahead of the slowest. */
const SHARED_WINDOW = 3

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
  const { needed: placed, slots } = placementOf(root, membership, replicas)
  const needed = what.needed ?? placed
  const plan = planBatches({ first: 0, last: tree.layout.segmentCount - 1, max: UPLOAD_BATCH_SEGMENTS })
  const scope = childScope(options.signal)
  const job: Job = {
    ...what,
    client,
    plan,
    rate: createRate(),
    feeds: [],
    progress: createProgress(needed, tree.layout.sizeBytes, options.onStored),
  }
  const failures: NodeFailure[] = []
  const claims = createClaims(client, slots)
  const feed = openFeed(job, SHARED_WINDOW, scope.signal)
  try {
    // All lanes join before the first one starts, so that no batch is dropped before every holder had it.
    const lanes = slots.map(({ slot }) => ({ slot, reader: feed.reader(), first: claims.next(slot) }))
    const results = await Promise.all(
      lanes.map((lane) =>
        runLane(job, lane, claims, failures, scope.signal).catch((error: unknown) => {
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
  readonly feeds: BatchFeed<Batch>[]
  readonly progress: Progress
}
type Lane = { readonly slot: number; readonly reader: BatchReader<Batch>; readonly first: Member | undefined }

/** One slot: its first candidate, then the next ones, until one has signed or nobody is left. */
async function runLane(
  job: Job,
  lane: Lane,
  claims: Claims,
  failures: NodeFailure[],
  signal: AbortSignal,
): Promise<Receipt | undefined> {
  let { reader } = lane
  for (let member = lane.first; member !== undefined; member = claims.next(lane.slot)) {
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
  readonly reader: BatchReader<Batch>
}

async function storeAt(job: Job, holder: Holder, signal: AbortSignal): Promise<Receipt> {
  const { root, seq, plan } = job
  const { contact, slot, reader, member } = holder
  const status = await contact.status({ signal })
  const check = (receipt: Receipt): Receipt => checkSigned(job.client, job, { member, status }, receipt)
  if (job.mayBeHeld) {
    const receipt = await contact.node.receipt(root, { seq, slot }, { signal })
    if (receipt !== undefined) {
      job.progress.add(slot, job.source.sizeBytes)
      return check(receipt)
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
  return check(receipt)
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
  const { client, root, seq, rate } = job
  const { contact, slot, spoil } = to
  try {
    return await sendBody(client, contact, { root, seq, slot, body: batch.body, spoil }, { rate, signal })
  } catch (error) {
    if (isRefusalOfBytes(error)) await checkSource(job, batch, signal)
    throw error
  }
}

/** A holder refuses the bytes. If they are no longer those that were rooted, it is right. Throws `SOURCE_CHANGED`. */
export async function checkSource(
  job: Pick<Dispersal, 'root' | 'tree' | 'source'> & { readonly client: Client },
  span: BatchSpan,
  signal: AbortSignal,
): Promise<void> {
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

/** Errors that another holder may not have. Everything else ends the upload. */
export function isHolderFault(error: unknown): boolean {
  return isFailure(error) && (error.blame !== 'caller' || error.code === 'NETWORK_MISMATCH')
}

function openFeed(job: Job, window: number, signal: AbortSignal): BatchFeed<Batch> {
  const buffers = createBodyBuffers()
  const feed = createBatchFeed<Batch>(
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
export type Progress = { add(slot: number, bytes: number): void; reset(slot: number): void }

export function createProgress(
  needed: number,
  sizeBytes: number,
  onStored: ((bytes: number) => void) | undefined,
): Progress {
  const bySlot = new Map<number, number>()
  let told = 0
  return {
    add: (slot, bytes) => {
      bySlot.set(slot, Math.min(sizeBytes, (bySlot.get(slot) ?? 0) + bytes))
      const sum = [...bySlot.values()].reduce((total, stored) => total + stored, 0)
      const average = Math.min(sizeBytes, Math.floor(sum / Math.max(1, needed)))
      if (average <= told) return
      told = average
      onStored?.(told)
    },
    reset: (slot) => bySlot.delete(slot),
  }
}
