import type { Address, Entry, Index, IndexChange, Logger, Receipt, ReceiptSigner } from '@weightless/core'
import { bitmapOf, receiptFromJson, toHex } from '@weightless/core'
import { isReceiptOf } from '../flow/entries.ts'
import { numberKey, numberRange } from '../flow/keys.ts'
import type { MembershipView } from '../flow/membership.ts'

/** The receipts of one holder: one per entry, the same ever after (DESIGN D9). */
export type Receipts = {
  /** `undefined` when none was signed. */
  get(entry: Entry): Receipt | undefined
  /** The receipt of a whole entry. `undefined` when this node cannot sign: it has no key, or is no active member. */
  sign(entry: Entry, slot: number): Promise<Receipt | undefined>
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

/** Names the registry where there is none (a static membership). */
const NO_REGISTRY: Address = `0x${'00'.repeat(20)}` as Address
/** Whole copies have no parity to prove: docs/wire.md. */
const NO_FINGERPRINTS = toHex(new Uint8Array(32))

export function createReceipts(options: ReceiptsOptions, deps: ReceiptsDeps): Receipts {
  const { index, membership, signer, logger } = deps
  const signing = new Map<string, Promise<Receipt | undefined>>()
  /** Signed and given away while their rows are on the way to the index. One whose row a crash takes is signed again: the same
   *  bytes for the same question. */
  const unsaved = new Map<number, Receipt>()

  const get = (entry: Entry): Receipt | undefined => {
    const fresh = unsaved.get(entry.seq)
    if (fresh !== undefined && isReceiptOf(fresh, entry)) return fresh
    const value = index.get(numberKey('receipt', entry.seq))
    const saved = value && receiptFromJson(JSON.parse(new TextDecoder().decode(value)))
    return saved !== undefined && isReceiptOf(saved, entry) ? saved : undefined
  }

  async function signNew(entry: Entry, slot: number): Promise<Receipt | undefined> {
    const since = signer && membership.activeSince(signer.address)
    if (signer === undefined || since === undefined) return undefined
    // The version in force when the entry was ordered, or the one by which this node became a member: the same for each
    // attempt, so a receipt whose row a power cut took is signed again byte for byte.
    const receipt = signer.sign({
      chainId: options.chainId,
      registry: options.registry ?? NO_REGISTRY,
      registryVersion: Math.max(membership.versionAtBlock(entry.blockNumber), since),
      dataRoot: entry.root,
      entrySeq: entry.seq,
      slots: bitmapOf([slot]),
      fingerprintRoot: NO_FINGERPRINTS,
      blockNumber: entry.blockNumber,
    })
    const value = new TextEncoder().encode(JSON.stringify(receipt))
    unsaved.set(entry.seq, receipt)
    index.transaction([{ key: numberKey('receipt', entry.seq), value }], { durability: 'written' }).then(
      () => void (unsaved.get(entry.seq) === receipt && unsaved.delete(entry.seq)),
      (error: unknown) => logger.error('receipt.saveFailed', { seq: entry.seq, error }),
    )
    return receipt
  }

  return {
    get,
    async sign(entry, slot) {
      const running = signing.get(entry.blockHash + entry.seq)
      if (running !== undefined) return await running
      const known = get(entry)
      if (known !== undefined) return known
      const work = signNew(entry, slot).finally(() => signing.delete(entry.blockHash + entry.seq))
      signing.set(entry.blockHash + entry.seq, work)
      return await work
    },
    async forgetAbove(registryVersion, { signal }) {
      for (const [seq, receipt] of unsaved) if (receipt.registryVersion > registryVersion) unsaved.delete(seq)
      const gone: IndexChange[] = []
      for (const { key, value } of index.range(numberRange('receipt', 0, Number.MAX_SAFE_INTEGER))) {
        const { registryVersion: version } = receiptFromJson(JSON.parse(new TextDecoder().decode(value)))
        if (version > registryVersion) gone.push({ key: Uint8Array.from(key), value: undefined })
      }
      signal.throwIfAborted()
      if (gone.length > 0) await index.transaction(gone, { durability: 'written' })
    },
  }
}
