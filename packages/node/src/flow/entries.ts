import type { Address, Entry, Hex, Index, IndexChange, Receipt, Root, TxHash } from '@weightless/core'
import { fromHex, toHex } from '@weightless/core'
import { numberKey, numberOfKey, numberRange, rootKey, rootRange } from './keys.ts'

/** The log, as far as this node has followed it. Reads see whole transactions of the follower and nothing in between. */
export type EntryIndex = {
  bySeq(seq: number): Entry | undefined
  /** Entries with this root, ascending by sequence number, at most `ENTRIES_PER_ROOT_MAX`. */
  byRoot(root: Root): readonly Entry[]
  /** The entry whose padded chunks cover this position of the flow. */
  atChunk(chunk: number): Entry | undefined
  /** Entries with seq > `after`, ascending. */
  list(options: { readonly after: number; readonly limit: number }): readonly Entry[]
}

/** The side of the follower, which alone changes the log. */
export type OwnEntryIndex = EntryIndex & {
  /** Entries from this number on were taken back: decoded copies of them are wrong. */
  forget(fromSeq: number): void
}

/** Whether a receipt speaks of this entry, and not of one that had its number before a reorganisation. */
export function isReceiptOf(receipt: Receipt, entry: Entry): boolean {
  return receipt.entrySeq === entry.seq && receipt.dataRoot === entry.root && receipt.blockNumber === entry.blockNumber
}

/** A root may be submitted any number of times by anybody: a lookup looks at so many of its entries and no more. */
export const ENTRIES_PER_ROOT_MAX = 64
/** Decoded entries kept: about 1 KB each, and polls of official clients ask for the same few. */
const DECODED_MAX = 4096

export function createEntryIndex(index: Index): OwnEntryIndex {
  // Entries never change once committed, so a decoded copy stays right until they are taken back.
  const decoded = new Map<number, Entry>()
  const bySeq = (seq: number): Entry | undefined => {
    const kept = decoded.get(seq)
    if (kept !== undefined) return kept
    if (!Number.isSafeInteger(seq) || seq < 0) return undefined
    const value = index.get(numberKey('entry', seq))
    if (value === undefined) return undefined
    const entry = decodeEntry(value)
    if (decoded.size >= DECODED_MAX) decoded.delete(decoded.keys().next().value!)
    decoded.set(seq, entry)
    return entry
  }
  const present = (seqs: readonly number[]): readonly Entry[] => seqs.map(bySeq).filter((entry) => entry !== undefined)
  return {
    bySeq,
    forget(fromSeq) {
      for (const seq of decoded.keys()) if (seq >= fromSeq) decoded.delete(seq)
    },
    byRoot(root) {
      const rows = index.range({ ...rootRange('entryByRoot', root), limit: ENTRIES_PER_ROOT_MAX })
      return present([...rows].map(({ key }) => numberOfKey(key)))
    },
    atChunk(chunk) {
      if (!Number.isSafeInteger(chunk) || chunk < 0) return undefined
      const [row] = index.range({ ...numberRange('entryByStart', 0, chunk + 1), limit: 1, reverse: true })
      const entry = row && bySeq(Number(new TextDecoder().decode(row.value)))
      return entry !== undefined && chunk < entry.startChunk + entry.paddedChunkCount ? entry : undefined
    },
    list({ after, limit }) {
      const rows = index.range({ ...numberRange('entry', after + 1, Number.MAX_SAFE_INTEGER), limit })
      return present([...rows].map(({ key }) => numberOfKey(key)))
    },
  }
}

/** What one new entry adds to the index; the follower commits it together with its cursor. */
export function entryChanges(entry: Entry): readonly IndexChange[] {
  const seq = new TextEncoder().encode(String(entry.seq))
  const [bySeq, byRoot, byStart] = entryRowKeys(entry)
  return [
    { key: bySeq, value: encodeEntry(entry) },
    { key: byRoot, value: seq },
    { key: byStart, value: seq },
  ]
}

export function entryRowKeys(entry: Entry): readonly [bySeq: Uint8Array, byRoot: Uint8Array, byStart: Uint8Array] {
  return [
    numberKey('entry', entry.seq),
    rootKey('entryByRoot', entry.root, entry.seq),
    numberKey('entryByStart', entry.startChunk),
  ]
}

/** Whether two entries are one: the same submission in the same block. After a reorganisation the same transaction may have
 *  another number, and another one this number. */
export function isSameEntry(a: Entry, b: Entry): boolean {
  return a.seq === b.seq && a.txHash === b.txHash && a.logIndex === b.logIndex && a.blockHash === b.blockHash
}

/**
 * The entry that a root stands for (spec/storage.md 3.2 "lookup by root"): the first finalised one; failing that the first
 * one. Official nodes skip pruned entries when `needAvailable` is set; nothing is pruned here, so both questions agree.
 */
export function lookupByRoot(entries: readonly Entry[], isFinal: (entry: Entry) => boolean): Entry | undefined {
  return entries.find(isFinal) ?? entries[0]
}

type StoredEntry = {
  readonly seq: number
  readonly root: string
  readonly sizeBytes: number
  readonly startChunk: number
  readonly paddedChunkCount: number
  readonly nodes: readonly (readonly [height: number, root: string])[]
  readonly tags: string
  readonly sender: string
  readonly identity: string
  readonly blockNumber: number
  readonly blockHash: string
  readonly txHash: string
  readonly logIndex: number
}

function encodeEntry(entry: Entry): Uint8Array {
  const stored: StoredEntry = {
    seq: entry.seq,
    root: entry.root,
    sizeBytes: entry.sizeBytes,
    startChunk: entry.startChunk,
    paddedChunkCount: entry.paddedChunkCount,
    nodes: entry.nodes.map((node) => [node.height, toHex(node.root)]),
    tags: toHex(entry.tags),
    sender: entry.sender,
    identity: entry.identity,
    blockNumber: entry.blockNumber,
    blockHash: entry.blockHash,
    txHash: entry.txHash,
    logIndex: entry.logIndex,
  }
  return new TextEncoder().encode(JSON.stringify(stored))
}

function decodeEntry(value: Uint8Array): Entry {
  const stored = JSON.parse(new TextDecoder().decode(value)) as StoredEntry
  return {
    seq: stored.seq,
    root: stored.root as Root,
    sizeBytes: stored.sizeBytes,
    startChunk: stored.startChunk,
    paddedChunkCount: stored.paddedChunkCount,
    nodes: stored.nodes.map(([height, root]) => ({ height, root: fromHex(root) })),
    tags: fromHex(stored.tags),
    sender: stored.sender as Address,
    identity: stored.identity as Hex,
    blockNumber: stored.blockNumber,
    blockHash: stored.blockHash as Hex,
    txHash: stored.txHash as TxHash,
    logIndex: stored.logIndex,
  }
}
