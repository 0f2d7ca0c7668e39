import type { Address, Entry, Hex, Index, IndexChange, Logger, Receipt, ReceiptSigner } from '@weightless/core'
import {
  bitmapOf,
  concat,
  equal,
  fingerprintRootOf,
  fromHex,
  NO_FINGERPRINTS,
  receiptFromJson,
  toHex,
} from '@weightless/core'
import { CODED_BYTES_SIZE_BYTES, codedBytesOf, type CodedEntry } from '../erasure/codedEntry.ts'
import { isReceiptOf } from '../flow/entries.ts'
import { numberKey, numberRange, pairKey, pairRange } from '../flow/keys.ts'
import { NO_REGISTRY, type MembershipView } from '../flow/membership.ts'

/** The receipts of one holder: one per entry, the same ever after (DESIGN D9); of its shards one for each set of slots. */
export type Receipts = {
  /** Of the whole entry. `undefined` when none was signed. */
  get(entry: Entry): Receipt | undefined
  /** The receipt of a whole entry. `undefined` when this node cannot sign: it has no key, or is no active member. */
  sign(entry: Entry, slot: number): Promise<Receipt | undefined>
  /** The receipt of the shards of these slots, whose fingerprints these are. `undefined` as for `sign`. */
  signShards(coded: CodedEntry, slots: readonly number[], fingerprints: Uint8Array): Receipt | undefined
  /** Forgets receipts that name a version of the registry above this one: a reorganisation took those versions back, and the
   *  same numbers come again for other members. */
  forgetAbove(registryVersion: number, options: { readonly signal: AbortSignal }): Promise<void>
}

export type ReceiptsOptions = { readonly chainId: number; readonly registry: Address | undefined }
export type ReceiptsDeps = {
  readonly index: Index
  readonly membership: MembershipView
  /** With the key of this node; the key itself never leaves where it was read. */
  readonly signer: ReceiptSigner | undefined
  readonly logger: Logger
}

/** Receipts of shards that are kept of one object: anybody may ask for any set of slots. Others are signed anew when they are
 *  asked for, as a rule to the same bytes. */
const SHARD_RECEIPTS_PER_ENTRY_MAX = 64

export function createReceipts(options: ReceiptsOptions, deps: ReceiptsDeps): Receipts {
  const { index, membership, signer, logger } = deps
  /** Signed and given away while their rows are on the way to the index, by key. One whose row a crash takes is signed again: the
   *  same bytes for the same question. */
  const unsaved = new Map<Hex, { readonly value: Uint8Array; readonly receipt: Receipt }>()

  function read(key: Uint8Array): Uint8Array | undefined {
    return unsaved.get(toHex(key))?.value ?? index.get(key)
  }

  const get = (entry: Entry): Receipt | undefined => {
    const value = read(numberKey('receipt', entry.seq))
    const saved = value && decode(value)
    return saved !== undefined && isOwn(saved, entry) ? saved : undefined
  }

  /** A node that came back under another key signs anew: what the old one signed is nobody's word any more. */
  function isOwn(saved: Receipt, entry: Entry): boolean {
    return saved.signer === signer?.address && isReceiptOf(saved, entry)
  }

  function signNew(entry: Entry, slots: readonly number[], fingerprintRoot: Hex): Receipt | undefined {
    const since = signer && membership.activeSince(signer.address)
    if (signer === undefined || since === undefined) return undefined
    // The version in force when the entry was ordered, or the one by which this node became a member: the same for each
    // attempt, so a receipt whose row a power cut took is signed again byte for byte.
    return signer.sign({
      chainId: options.chainId,
      registry: options.registry ?? NO_REGISTRY,
      registryVersion: Math.max(membership.versionAtBlock(entry.blockNumber), since),
      dataRoot: entry.root,
      entrySeq: entry.seq,
      slots: bitmapOf(slots),
      fingerprintRoot,
      blockNumber: entry.blockNumber,
    })
  }

  function save(key: Uint8Array, value: Uint8Array, receipt: Receipt): void {
    const name = toHex(key)
    const row = { value, receipt }
    unsaved.set(name, row)
    index.transaction([{ key, value }], { durability: 'written' }).then(
      () => void (unsaved.get(name) === row && unsaved.delete(name)),
      (error: unknown) => logger.error('receipt.saveFailed', { seq: receipt.entrySeq, error }),
    )
  }

  return {
    get,
    async sign(entry, slot) {
      const known = get(entry)
      if (known !== undefined) return known
      const receipt = signNew(entry, [slot], NO_FINGERPRINTS)
      if (receipt !== undefined) save(numberKey('receipt', entry.seq), encode(receipt), receipt)
      return receipt
    },
    signShards(coded, slots, fingerprints) {
      const { data, parity, layout } = coded
      const key = pairKey('shardReceipt', data.seq, parity.seq, fromHex(bitmapOf(slots)))
      const about = codedBytesOf(coded)
      const value = read(key)
      if (value !== undefined && equal(value.subarray(0, CODED_BYTES_SIZE_BYTES), about)) {
        const saved = decode(value.subarray(CODED_BYTES_SIZE_BYTES))
        if (isOwn(saved, data)) return saved
      }
      const fingerprintRoot = fingerprintRootOf({ layout, parityRoot: parity.root, slots }, fingerprints)
      const receipt = signNew(data, slots, fingerprintRoot)
      if (receipt === undefined) return undefined
      const pair = { ...pairRange('shardReceipt', data.seq, parity.seq), limit: SHARD_RECEIPTS_PER_ENTRY_MAX }
      const keptCount = [...index.range(pair)].length
      if (keptCount < SHARD_RECEIPTS_PER_ENTRY_MAX) save(key, concat([about, encode(receipt)]), receipt)
      return receipt
    },
    async forgetAbove(registryVersion, { signal }) {
      const isGone = (receipt: Receipt): boolean => receipt.registryVersion > registryVersion
      for (const [name, { receipt }] of unsaved) if (isGone(receipt)) unsaved.delete(name)
      const gone: IndexChange[] = []
      for (const { key, value } of index.range(numberRange('receipt', 0, Number.MAX_SAFE_INTEGER)))
        if (isGone(decode(value))) gone.push({ key: Uint8Array.from(key), value: undefined })
      for (const { key, value } of index.range(numberRange('shardReceipt', 0, Number.MAX_SAFE_INTEGER)))
        if (isGone(decode(value.subarray(CODED_BYTES_SIZE_BYTES))))
          gone.push({ key: Uint8Array.from(key), value: undefined })
      signal.throwIfAborted()
      if (gone.length > 0) await index.transaction(gone, { durability: 'written' })
    },
  }
}

function encode(receipt: Receipt): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(receipt))
}

function decode(value: Uint8Array): Receipt {
  return receiptFromJson(JSON.parse(new TextDecoder().decode(value)))
}
