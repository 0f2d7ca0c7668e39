import type { Entry, ErasureCode, ShardLayout } from '@weightless/core'
import { concat, fromHex, invariant, segmentOfShard, shardLayoutOf, type Shard } from '@weightless/core'
import { fail } from '../errors.ts'
import { firstOf } from '../firstOf.ts'
import type { EntryIndex } from '../flow/entries.ts'
import { parityTagsOf, type ParityEntry, type ParityIndex } from '../flow/parities.ts'

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

/** The object with each of the first few entries that say they are its parity. */
export function claimedCodedEntries(data: Entry, parities: ParityIndex, countMax: number): readonly CodedEntry[] {
  return firstOf(parities.of(data), countMax).map((parity) => codedEntryOf(data, parity))
}

/** The object that an entry is the data or the parity of: of several the one that its writer submitted beside it, else the first.
 *  A guess that saves work; it proves nothing. */
export function likelyCodedEntry(
  entry: Entry,
  { entries, parities }: { readonly entries: Pick<EntryIndex, 'bySeq' | 'byRoot'>; readonly parities: ParityIndex },
): CodedEntry | undefined {
  const tags = parityTagsOf(entry)
  if (tags === undefined) {
    const [first] = parities.of(entry)
    const parity = parities.named(entry, entry.seq + 1) ?? first
    return parity && codedEntryOf(entry, parity)
  }
  const isData = (one: Entry | undefined): boolean => one?.root === tags.dataRoot && one.sizeBytes === tags.sizeBytes
  const before = entries.bySeq(entry.seq - 1)
  const data = isData(before) ? before : entries.byRoot(tags.dataRoot).find(isData)
  return data && codedEntryOf(data, { entry, tags })
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
