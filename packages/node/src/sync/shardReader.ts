import type { Entry, Kernels, Logger, Member, ProvenSegment, Shard } from '@weightless/core'
import { checkSegment, isFailure, layoutOf, leafCountOf, SEGMENT_SIZE_BYTES } from '@weightless/core'
import { segmentOf, type CodedEntry } from '../erasure/codedEntry.ts'
import type { Peers } from '../peers/peers.ts'
import type { Pace } from './pace.ts'
import type { ShardSources } from './shardSources.ts'

/** A shard of which it is proven that it is a segment of its entry. */
export type ProvenShard = Shard & { readonly segment: ProvenSegment; readonly segmentRoot: Uint8Array }
/** Shards of one slot in the stripes from … from + count − 1. */
export type ShardRun = { readonly slot: number; readonly from: number; readonly count: number }

export type ShardReaderDeps = {
  readonly kernels: Kernels
  readonly peers: Peers
  readonly pace: Pace
  readonly logger: Logger
}

const GET_TIMEOUT_MS = 20_000

/** Reads a run from one of those who have the slot, and proves each shard against the root of its entry on chain. Whoever fails or
 *  lies is given up for this slot. What it lacks of a run is left out: others may have that. `undefined` when nobody has any. */
export async function readRun(
  coded: CodedEntry,
  run: ShardRun,
  { sources, signal }: { readonly sources: ShardSources; readonly signal: AbortSignal },
  deps: ShardReaderDeps,
): Promise<readonly ProvenShard[] | undefined> {
  const { slot, from, count } = run
  const first = { slot, stripe: from }
  for (const member of [...sources.certain(first), ...sources.possible(first)]) {
    const found = await readFrom(coded, run, member, deps, signal)
    if (Array.isArray(found)) return found as readonly ProvenShard[]
    if (found === 'failed') sources.giveUp(slot, member)
    else if (count === 1) sources.lacks(first, member)
    else {
      // It may lack one of them only.
      const some: ProvenShard[] = []
      for (let stripe = from; stripe < from + count; stripe++) {
        const one = await readFrom(coded, { slot, from: stripe, count: 1 }, member, deps, signal)
        if (one === 'lacks') sources.lacks({ slot, stripe }, member)
        else if (one === 'failed') sources.giveUp(slot, member)
        else some.push(...one)
        if (one === 'failed') break
      }
      if (some.length > 0) return some
    }
  }
  return undefined
}

async function readFrom(
  coded: CodedEntry,
  { slot, from, count }: ShardRun,
  member: Member,
  { kernels, peers, pace, logger }: ShardReaderDeps,
  signal: AbortSignal,
): Promise<readonly ProvenShard[] | 'lacks' | 'failed'> {
  const { entry, index } = segmentOf(coded, { slot, stripe: from })
  const { k, m } = coded.code
  const step = slot < k ? k : m
  await pace.turn(count * SEGMENT_SIZE_BYTES, { signal })
  try {
    const what = { from: index, count, step, seq: entry.seq }
    const segments = await peers.of(member)!.getSegments(entry.root, what, { signal, timeoutMs: GET_TIMEOUT_MS })
    if (segments === undefined) return 'lacks'
    const roots = await Promise.all(segments.map((segment) => provenRoot(entry, segment, kernels, signal)))
    peers.succeeded(member)
    return segments.map((segment, i) => ({ slot, stripe: from + i, segment, segmentRoot: roots[i]! }))
  } catch (error) {
    signal.throwIfAborted()
    if (!isFailure(error)) throw error
    // Bytes that went bad there are bytes that it does not have.
    if (error.code === 'STORE_CORRUPT') return 'lacks'
    logger.info('repair.sourceFailed', { seq: entry.seq, slot, holder: member.id, code: error.code })
    peers.failed(member, error)
    return 'failed'
  }
}

/** The root of a segment that its proof leads from to the root of the entry. Throws `SEGMENT_*`. */
async function provenRoot(
  entry: Entry,
  segment: ProvenSegment,
  kernels: Kernels,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const root = await segmentRootOf(entry, segment, kernels, signal)
  checkSegment({ root: entry.root, sizeBytes: entry.sizeBytes }, segment, root)
  return root
}

export async function segmentRootOf(
  entry: Entry,
  { index, data }: { readonly index: number; readonly data: Uint8Array },
  kernels: Kernels,
  signal: AbortSignal,
): Promise<Uint8Array> {
  return await kernels.segmentRoots(data, { lastLeafCount: leafCountOf(layoutOf(entry.sizeBytes), index), signal })
}
