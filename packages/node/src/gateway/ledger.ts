import type { Address, Entry, Index, Logger, Receipt } from '@weightless/core'
import { copyHomes, receiptFromJson, receiptKindOf, verifyReceipt } from '@weightless/core'
import type { Certificates, Certified } from '../erasure/certificates.ts'
import { fail } from '../errors.ts'
import { isReceiptOf, isSameEntry, type EntryIndex } from '../flow/entries.ts'
import { numberKey } from '../flow/keys.ts'
import type { MembershipView } from '../flow/membership.ts'
import { parityTagsOf } from '../flow/parities.ts'
import { createTurns } from '../turns.ts'

/**
 * Who signed for which entry. An entry is final at the gateway when as many members as the policy asks for have signed for copies
 * (DESIGN D8); that is written down with their receipts, and stays so. So is one whose certificate says that it is durable, and the
 * parity that such a certificate names.
 */
export type Ledger = {
  isFinal(entry: Entry): boolean
  /** By a certificate: whole copies may be none. */
  isCertified(entry: Entry): boolean
  /** The durable certificate of an entry, or of the object that it is the parity of. */
  certified(entry: Entry): Certified | undefined
  receipts(entry: Entry): readonly Receipt[]
  /** Those of them whose signers are members now: only these count towards the copies that are needed. */
  counted(entry: Entry): readonly Receipt[]
  /** These are on the chain no more; their rows went with them. */
  forget(entries: readonly Entry[]): void
  /** Counts again, because the network may have shrunk to what is there; true when the entry is final. */
  settle(entry: Entry): Promise<boolean>
  /** Copies that this entry must have: the policy's, or fewer when the network is smaller. */
  neededCount(entry: Entry): number
  /** Checks and keeps a receipt; true when the entry is final with it. Throws `RECEIPT_INVALID`. */
  add(entry: Entry, receipt: Receipt): Promise<boolean>
}

export type LedgerOptions = {
  readonly chainId: number
  readonly registry: Address | undefined
  readonly replicas: number
  /** Policy `none`: what the gateway itself keeps is all there is. */
  readonly isKept?: ((entry: Entry) => boolean) | undefined
}

type Delivery = { readonly final: boolean; readonly receipts: readonly Receipt[] }
const NOTHING: Delivery = { final: false, receipts: [] }
/** Deliveries kept decoded: polls of official clients ask for the same few. */
const DECODED_MAX = 4096

export function createLedger(
  options: LedgerOptions,
  deps: {
    readonly index: Index
    readonly entries: Pick<EntryIndex, 'bySeq' | 'byRoot'>
    readonly certificates: Pick<Certificates, 'of'>
    readonly membership: MembershipView
    readonly logger: Logger
  },
): Ledger {
  const { index, membership } = deps
  const decoded = new Map<number, Delivery>()
  // Three holders answer at once.
  const inTurn = createTurns<number>()

  function delivery(entry: Entry): Delivery {
    const { seq } = entry
    const kept = decoded.get(seq) ?? stored(seq)
    // What was signed for another entry that had this number before a reorganisation says nothing of this one.
    return kept.receipts.every((receipt) => isReceiptOf(receipt, entry)) ? kept : NOTHING
  }
  function stored(seq: number): Delivery {
    const value = index.get(numberKey('delivery', seq))
    return remember(seq, value === undefined ? NOTHING : decode(value))
  }
  function remember(seq: number, value: Delivery): Delivery {
    if (decoded.size >= DECODED_MAX) decoded.delete(decoded.keys().next().value!)
    decoded.set(seq, value)
    return value
  }

  const count = (receipts: readonly Receipt[]): readonly Receipt[] => {
    const signers = new Set(membership.current().members.map((member) => member.signer))
    return receipts.filter((receipt) => signers.has(receipt.signer))
  }
  const neededCount = (entry: Entry): number =>
    Math.max(1, copyHomes({ key: entry.root, count: options.replicas }, membership.current().members).length)

  function check(entry: Entry, receipt: Receipt): void {
    const refuse = (reason: string): Error =>
      fail('RECEIPT_REFUSED', { reason, signer: receipt.signer, seq: entry.seq, root: entry.root })
    if (receipt.chainId !== options.chainId) throw refuse('chainId')
    // Who holds a sixth of an object says so in a receipt of the same form: three of those are no copies.
    if (receiptKindOf(receipt) !== 'copy') throw refuse('it speaks of shards, not of a copy')
    if (options.registry !== undefined && receipt.registry !== options.registry) throw refuse('registry')
    if (receipt.dataRoot !== entry.root) throw refuse('dataRoot')
    if (receipt.entrySeq !== entry.seq) throw refuse('entrySeq')
    if (receipt.blockNumber !== entry.blockNumber) throw refuse('blockNumber')
    const members = membership.at(receipt.registryVersion)?.members ?? membership.current().members
    if (!members.some((member) => member.signer === receipt.signer)) throw refuse('the signer is no member')
    verifyReceipt(receipt)
  }

  async function write(entry: Entry, receipt: Receipt | undefined): Promise<boolean> {
    const onChain = deps.entries.bySeq(entry.seq)
    // Taken back while its holders answered: its number may be that of another entry by now.
    if (onChain === undefined || !isSameEntry(onChain, entry)) return false
    const before = delivery(entry)
    const isKnown = receipt === undefined || before.receipts.some((known) => known.signer === receipt.signer)
    const receipts = isKnown ? before.receipts : [...before.receipts, receipt]
    const next: Delivery = { final: before.final || count(receipts).length >= neededCount(entry), receipts }
    if (isKnown && next.final === before.final) return before.final
    const value = new TextEncoder().encode(JSON.stringify(next))
    await index.transaction([{ key: numberKey('delivery', entry.seq), value }], {
      durability: next.final ? 'synced' : 'written',
    })
    remember(entry.seq, next)
    if (next.final && !before.final)
      deps.logger.info('entry.finalized', { seq: entry.seq, root: entry.root, holderCount: receipts.length })
    return next.final
  }

  const isFinal = (entry: Entry): boolean =>
    delivery(entry).final || options.isKept?.(entry) === true || isCertified(entry)

  const isCertified = (entry: Entry): boolean => certified(entry) !== undefined

  /** Entries of one root and size share their shards, and those of one parity root their bytes, so one certificate speaks for all. */
  function certified(entry: Entry): Certified | undefined {
    const tags = parityTagsOf(entry)
    const { root, sizeBytes } = tags === undefined ? entry : { root: tags.dataRoot, sizeBytes: tags.sizeBytes }
    // Its own first: however many others have the root, it is found.
    for (const object of tags === undefined ? [entry, ...deps.entries.byRoot(root)] : deps.entries.byRoot(root)) {
      const found = object.sizeBytes === sizeBytes ? deps.certificates.of(object) : undefined
      if (found?.isDurable === true && (tags === undefined || found.parity?.root === entry.root)) return found
    }
    return undefined
  }

  return {
    isFinal,
    isCertified,
    certified,
    receipts: (entry) => delivery(entry).receipts,
    neededCount,
    counted: (entry) => count(delivery(entry).receipts),
    forget(entries) {
      for (const { seq } of entries) decoded.delete(seq)
    },
    async settle(entry) {
      return isFinal(entry) || (await inTurn(entry.seq, () => write(entry, undefined)))
    },
    async add(entry, receipt) {
      check(entry, receipt)
      return await inTurn(entry.seq, () => write(entry, receipt))
    },
  }
}

function decode(value: Uint8Array): Delivery {
  const stored = JSON.parse(new TextDecoder().decode(value)) as {
    readonly final: boolean
    readonly receipts: readonly unknown[]
  }
  return { final: stored.final, receipts: stored.receipts.map(receiptFromJson) }
}
