import { ceilDiv } from '../bytes.ts'
import { fail, invariant } from '../errors.ts'
import { layoutOf } from '../flow/layout.ts'
import { PARITY_SIZE_BYTES_MAX, SEGMENT_SIZE_BYTES } from '../limits.ts'
import { isCode, type ErasureCode } from './code.ts'

/** How an object of `sizeBytes` is cut into shards (DESIGN D6, docs/erasure.md 4). Of its n segments with real data, stripe t is
 *  those from t·k on: slot i has segment t·k + i, or nothing from n on, which counts as zeros and is stored by nobody. Slot k + j
 *  has segment t·m + j of the parity entry. `undefined` for a single segment: it has copies and no parity. Throws `CODE_INVALID`,
 *  and `SIZE_INVALID` like `layoutOf`. */
export function shardLayoutOf(sizeBytes: number, code: ErasureCode): ShardLayout | undefined {
  if (!isCode(code)) throw fail('CODE_INVALID', { k: code.k, m: code.m })
  const { segmentCount } = layoutOf(sizeBytes)
  if (segmentCount === 1) return undefined
  const { k, m } = code
  const stripeCount = ceilDiv(segmentCount, k)
  const paritySizeBytes = stripeCount * m * SEGMENT_SIZE_BYTES
  if (paritySizeBytes > PARITY_SIZE_BYTES_MAX) {
    throw fail('CODE_INVALID', { k, m, sizeBytes, paritySizeBytes, paritySizeBytesMax: PARITY_SIZE_BYTES_MAX })
  }
  return { code: { k, m }, segmentCount, stripeCount, paritySizeBytes, dataSlotCount: Math.min(k, segmentCount) }
}

export type ShardLayout = {
  readonly code: ErasureCode
  /** Segments with real data: at least two. */
  readonly segmentCount: number
  readonly stripeCount: number
  /** Of the parity entry: its segments are whole. */
  readonly paritySizeBytes: number
  /** Data slots that have a shard; the others up to k are zero in every stripe. */
  readonly dataSlotCount: number
}

/** Slots that have shards, ascending: data slots 0 … dataSlotCount − 1, parity slots k … k + m − 1. */
export function presentSlots(layout: ShardLayout): readonly number[] {
  const { k, m } = layout.code
  return [...range(0, layout.dataSlotCount), ...range(k, k + m)]
}

/** Shards of a slot: it has one in each of the stripes 0 … count − 1. Zero for a slot that is absent or beyond the code. */
export function shardCountOf({ code, segmentCount, stripeCount }: ShardLayout, slot: number): number {
  if (slot < code.k) return Math.max(0, ceilDiv(segmentCount - slot, code.k))
  return slot < code.k + code.m ? stripeCount : 0
}

/** Which segment of which entry a shard is; `undefined` for one that is absent. */
export function segmentOfShard(layout: ShardLayout, { stripe, slot }: Shard): ShardSegment | undefined {
  const { k, m } = layout.code
  if (stripe >= shardCountOf(layout, slot)) return undefined
  if (slot < k) return { entry: 'data', segmentIndex: stripe * k + slot }
  return { entry: 'parity', segmentIndex: stripe * m + (slot - k) }
}

/** Which shard a segment is. */
export function shardOfSegment({ code, segmentCount, stripeCount }: ShardLayout, segment: ShardSegment): Shard {
  const { entry, segmentIndex } = segment
  const [width, count] = entry === 'data' ? [code.k, segmentCount] : [code.m, stripeCount * code.m]
  invariant(Number.isInteger(segmentIndex) && segmentIndex >= 0 && segmentIndex < count, 'a segment of its entry')
  const slot = segmentIndex % width
  return { stripe: Math.floor(segmentIndex / width), slot: entry === 'data' ? slot : code.k + slot }
}

/** A shard of an object, by its stripe and its slot in it. */
export type Shard = { readonly stripe: number; readonly slot: number }
export type ShardSegment = { readonly entry: 'data' | 'parity'; readonly segmentIndex: number }

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, i) => from + i)
}

/** A segment as the code's equations see it: the last one of an entry is shorter on the wire. */
export function extendedShard(data: Uint8Array): Uint8Array {
  if (data.length === SEGMENT_SIZE_BYTES) return data
  const shard = new Uint8Array(SEGMENT_SIZE_BYTES)
  shard.set(data)
  return shard
}
