import {
  isFailure,
  layoutOf,
  SEGMENT_SIZE_BYTES,
  segmentDataSize,
  stripesOfSegments,
  type Abortable,
  type ProvenSegment,
  type SegmentProof,
} from '@weightless/core'
import { createBodyBuffers, type BatchSpan, type BodyBuffers } from './batches.ts'
import { BogusParity, createBearing, type Bearing } from './bearOut.ts'
import type { Client } from './client.ts'
import { gatherShards, type GatheredShards } from './gatherShards.ts'
import type { NodeFailure } from './holders.ts'
import type { Located } from './locate.ts'
import { createRate } from './rate.ts'
import { rebuildStripes } from './rebuildStripes.ts'
import { jittered } from './retry.ts'
import type { SegmentReader } from './segmentReader.ts'
import { createShardHolders, type Way } from './shardHolders.ts'
import { survey, type Survey } from './survey.ts'

/** A node that was away may be back a moment later: so often everybody is asked again before a stripe counts as lost. */
const ROUNDS_MAX = 3
const ROUND_DELAY_MS = 200

export type StripeReader = SegmentReader & {
  /** The same segments, each with its proof by the data root. */
  readProven(span: BatchSpan, options: { readonly signal: AbortSignal }): Promise<readonly ProvenSegment[]>
}

/** A reader of the object by whatever shards its holders say they have; `undefined` when nobody has any. */
export async function openStripeReader(
  client: Client,
  object: Pick<Located, 'root' | 'seq' | 'sizeBytes'>,
  options: Abortable,
): Promise<StripeReader | undefined> {
  const found = await survey(client, object, { ...options, until: 'readable' })
  return found.parities.length === 0 ? undefined : createStripeReader(client, object, found)
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
): StripeReader {
  const { clock, random, kernels, net } = client.deps
  const layout = layoutOf(object.sizeBytes)
  const rate = createRate()
  /** Runs are copied to their places and let go of at once, so their buffers serve again. */
  const buffers = net.getInto === undefined ? undefined : createBodyBuffers('shared')
  const holders = createShardHolders(client, object, found, { rate, take: buffers?.take })
  const gather: Parameters<typeof createBearing>[1]['gather'] = (what, failures, { signal }) =>
    gatherShards(object, what, failures, { client, holders, rate }, { signal })
  const rebuild = (
    { parity }: Way,
    gathered: GatheredShards,
    placeOf: (segmentIndex: number) => Uint8Array,
    { signal }: { readonly signal: AbortSignal },
  ): Promise<ReadonlyMap<number, Uint8Array>> =>
    rebuildStripes(gathered, { shards: parity.layout, data: layout, placeOf }, kernels, { signal })
  const bearing: Bearing = createBearing(object, { holders, gather, rebuild })

  async function readPiece(
    span: BatchSpan,
    { failures, lost }: Attempts,
    { signal }: { readonly signal: AbortSignal },
  ): Promise<Piece> {
    let way = holders.wayTo(span, lost)
    if (!holders.isReadable(way, span) && !holders.isComplete()) {
      // Those who were asked do not suffice.
      await holders.askAgain({ signal })
      way = holders.wayTo(span, lost)
    }
    try {
      return await readBy(way, span, failures, { signal })
    } catch (error) {
      if (isFailure(error, 'SHARDS_LOST')) lost.add(way.name)
      throw error
    }
  }

  async function readBy(
    way: Way,
    span: BatchSpan,
    failures: NodeFailure[],
    { signal }: { readonly signal: AbortSignal },
  ): Promise<Piece> {
    const stripes = [...stripesOfSegments(way.parity.layout, { from: span.from, to: span.from + span.count })]
    const gathered = await gather({ way, stripes }, failures, { signal })
    const pieceBytes = span.count * SEGMENT_SIZE_BYTES
    const piece = (options.take?.(pieceBytes) ?? new Uint8Array(pieceBytes)).subarray(0, pieceBytes)
    const placeOf = (index: number): Uint8Array => {
      const at = (index - span.from) * SEGMENT_SIZE_BYTES
      return piece.subarray(at, at + SEGMENT_SIZE_BYTES)
    }
    const proofs = new Map<number, SegmentProof>()
    for (const { stripe, direct } of gathered.plans) {
      for (const slot of direct) {
        const { index, data, proof } = gathered.shard(stripe, slot)
        placeOf(index).set(data)
        // Its hashes lie in the buffer that the run came in.
        proofs.set(index, { ...proof, siblings: proof.siblings.map((sibling) => sibling.slice()) })
      }
    }
    const rebuilt = await rebuild(way, gathered, placeOf, { signal })
    if (rebuilt.size > 0) await bearing.bearOut({ way, gathered, rebuilt }, failures, { signal })
    const segments = Array.from({ length: span.count }, (_, i): ProvenSegment => {
      const index = span.from + i
      const data = placeOf(index).subarray(0, segmentDataSize(layout, index))
      return { index, data, proof: proofs.get(index) ?? bearing.prove(index) }
    })
    for (const { data } of gathered.runs) buffers?.give(data)
    const last = span.from + span.count - 1
    return { bytes: piece.subarray(0, (span.count - 1) * SEGMENT_SIZE_BYTES + segmentDataSize(layout, last)), segments }
  }

  async function readInRounds(span: BatchSpan, signal: AbortSignal): Promise<Piece> {
    const attempts: Attempts = { failures: [], lost: new Set() }
    const { lost } = attempts
    for (let round = 1; ;) {
      try {
        return await readPiece(span, attempts, { signal })
      } catch (error) {
        signal.throwIfAborted()
        if (error instanceof BogusParity) {
          holders.distrust(error.way)
          continue
        }
        if (!isFailure(error, 'SHARDS_LOST')) throw error
        const next = holders.wayTo(span, lost)
        if (!lost.has(next.name) && holders.isReadable(next, span)) continue
        if (round >= ROUNDS_MAX) throw error
        lost.clear()
        await clock.sleep(jittered(ROUND_DELAY_MS * 2 ** (round - 1), random), { signal })
        await holders.askAgain({ signal })
        round += 1
      }
    }
  }

  return {
    read: async (span, { signal }) => (await readInRounds(span, signal)).bytes,
    readProven: async (span, { signal }) => (await readInRounds(span, signal)).segments,
  }
}

/** Of one span, with all its rounds. */
type Attempts = {
  readonly failures: NodeFailure[]
  /** Names of ways whose holders did not have what they say, since everybody was asked. */
  readonly lost: Set<string>
}
type Piece = { readonly bytes: Uint8Array; readonly segments: readonly ProvenSegment[] }
