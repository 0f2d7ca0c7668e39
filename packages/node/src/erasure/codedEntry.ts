import type { Entry, ErasureCode, ShardLayout } from '@weightless/core'
import { concat, fromHex, invariant, segmentOfShard, shardLayoutOf, type Shard } from '@weightless/core'
import { fail } from '../errors.ts'
import type { ParityEntry, ParityIndex } from '../flow/parities.ts'

/** A data entry together with an entry that says it is its parity. Whether that is so has to be proven. */
export type CodedEntry = {
  readonly data: Entry
  readonly parity: Entry
  readonly code: ErasureCode
  readonly layout: ShardLayout
}

export function codedEntryOf(data: Entry, { entry: parity, tags }: ParityEntry): CodedEntry {
  const layout = shardLayoutOf(data.sizeBytes, tags.code)
  invariant(layout !== undefined, 'a parity that fits is of more than one segment')
  return { data, parity, code: tags.code, layout }
}

/** Throws `PARITY_MISMATCH` when that entry is no parity of this one. */
export function namedCodedEntry(data: Entry, paritySeq: number, parities: ParityIndex): CodedEntry {
  const found = parities.named(data, paritySeq)
  if (found === undefined) throw fail('PARITY_MISMATCH', { root: data.root, seq: data.seq, parity: paritySeq })
  return codedEntryOf(data, found)
}

/** Which segment of which of the two entries a shard is; the shard exists. */
export function segmentOf(
  { data, parity, layout }: CodedEntry,
  shard: Shard,
): { readonly entry: Entry; readonly index: number } {
  const segment = segmentOfShard(layout, shard)
  invariant(segment !== undefined, 'the shard exists')
  return { entry: segment.entry === 'data' ? data : parity, index: segment.segmentIndex }
}

/** Which bytes what was written down about shards speaks of: after a reorganisation the numbers may be those of other entries. */
export function codedBytesOf({ data, parity, code }: CodedEntry): Uint8Array {
  const sizeBytes = new Uint8Array(8)
  new DataView(sizeBytes.buffer).setBigUint64(0, BigInt(data.sizeBytes))
  return concat([fromHex(data.root), fromHex(parity.root), Uint8Array.of(code.k, code.m), sizeBytes])
}
/** Of `codedBytesOf`. */
export const CODED_BYTES_SIZE_BYTES = 74
