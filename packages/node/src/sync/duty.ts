import type { Address, Entry, Home, Member } from '@weightless/core'
import { copyHomes, protectedHomes, REPLICA_COUNT, SEGMENT_SIZE_BYTES, shardCountOf } from '@weightless/core'
import { betterParity } from '../erasure/betterParity.ts'
import type { Certificates, Certified } from '../erasure/certificates.ts'
import { codedEntryOf, type CodedEntry } from '../erasure/codedEntry.ts'
import type { HeldShards } from '../erasure/heldShards.ts'
import { ENTRIES_PER_ROOT_MAX, type EntryIndex } from '../flow/entries.ts'
import type { MembershipView } from '../flow/membership.ts'
import { parityTagsOf, type ParityIndex } from '../flow/parities.ts'
import type { Shelf } from '../segments/shelf.ts'
import { homeSlot } from './planSync.ts'
import { copiesNeededOf } from './surplus.ts'

/** What of an entry belongs on this node and is not here.
 *  `whole`: a copy. `shards`: all shards of some slots, of an object whose parity is proven. `search`: it may be protected by shards,
 *  of which this node would keep some: somebody may have the certificate. */
export type Duty = MissingPart & {
  readonly why: 'home' | 'signed'
  readonly missingBytes: number
  /** Segments of this part that are here. */
  readonly heldCount: number
}
export type MissingPart =
  | { readonly kind: 'whole' }
  | { readonly kind: 'shards'; readonly coded: CodedEntry; readonly slots: readonly number[] }
  | { readonly kind: 'search' }

/** The policy of a node (docs/wire.md, Shards): an entry whose parity is proven and durable is kept by shards at the homes of its slots,
 *  any other by copies; a parity entry is never copied whole. Shards of parity that is proven and not durable are built beside the copies,
 *  which stay until it is. What nobody has proven changes nothing. */
export type Duties = {
  /** `undefined` when nothing is missing here. */
  of(entry: Entry): Duty | undefined
  /** Whether an entry may have parity whose certificate is not here: worth a question before it is copied whole. */
  mayBeProven(entry: Entry): boolean
  /** Parity of an object that is kept by shards, which would count before the one that is proven here, if somebody can prove it: worth a
   *  few questions where this node is a home under either. */
  betterOf(entry: Entry): CodedEntry | undefined
  /** The entries whose bytes here are those of this one: itself, or those that it is the parity of. */
  concerning(entry: Entry): readonly Entry[]
  /** The object that this node keeps by shards, and its slots; `undefined` for one that it does not. */
  shardsOf(entry: Entry): OwnShards | undefined
  /** The same where its parity is proven, durable or not yet: copies stay as long as it is not. */
  provenShardsOf(entry: Entry): OwnShards | undefined
  /** Whether this node has signed for a slot of an object whose parity is proven: what is missing of it was lost here. */
  hasSignedSlot(entry: Entry, slot: number): boolean
  /** Whole copies that there should be of an entry that is not kept by shards: of one segment under a code 1 + m. */
  copyCount(entry: Entry): number
  /** Homes whose slots the certificate that is kept does not name, this node among them: it came back under another key, became a home
   *  of what it had, or nobody could tell it what others have signed. The same of homes of copies whose number a code says. Empty where
   *  this node is no home, or lacks its own. */
  unnamedHomes(entry: Entry): readonly Home[]
  /** Whether a root's bytes may be needed here for another entry than this object or its parity: then nothing of it is given up. */
  isShared(coded: CodedEntry): boolean
}

export type OwnShards = { readonly coded: CodedEntry; readonly slots: readonly number[] }

export type DutiesDeps = {
  readonly entries: EntryIndex
  readonly parities: ParityIndex
  readonly certificates: Pick<Certificates, 'of'>
  readonly held: Pick<HeldShards, 'missingCount' | 'segmentCount'>
  readonly shelf: Pick<Shelf, 'isWhole' | 'missingCount' | 'heldCount'>
  readonly membership: MembershipView
  readonly signer: Address | undefined
  readonly hasSigned: (entry: Entry) => boolean
  /** Parity that was of no use to anybody and is not to be fetched again. */
  readonly isDropped?: ((entry: Entry) => boolean) | undefined
}

/** Codes that are tried in order to see whether this node would be a home. Whoever submits more than these makes all nodes ask: it
 *  costs questions, and hides nothing. */
const CODES_TRIED_MAX = 4

export function createDuties(deps: DutiesDeps): Duties {
  const { entries, parities, certificates, held, shelf, membership, signer } = deps
  const members = (): readonly Member[] => membership.current().members

  /** The object with its parity, where that is proven and durable: copies are not given up for less. Entries of the same bytes share
   *  their shards (DESIGN D6), so the certificate of one of them will do for all. */
  function codedOf(entry: Entry, isEnough: (certified: Certified) => boolean = isKeptByShards): CodedEntry | undefined {
    const own = certifiedOf(entry, isEnough)
    if (own !== undefined) return own
    for (const same of entries.byRoot(entry.root)) {
      const isOther = same.seq !== entry.seq && same.sizeBytes === entry.sizeBytes
      const shared = isOther ? certifiedOf(same, isEnough) : undefined
      if (shared !== undefined) return shared
    }
    return undefined
  }

  /** The object with parity that is proven: the one that keeps it, else one that may come to keep it. */
  const provenOf = (entry: Entry): CodedEntry | undefined => codedOf(entry) ?? codedOf(entry, isProven)

  function certifiedOf(entry: Entry, isEnough: (certified: Certified) => boolean): CodedEntry | undefined {
    const certified = certificates.of(entry)
    if (certified === undefined || !isEnough(certified)) return undefined
    const parity = parities.named(entry, certified.parity!.seq)
    return parity && codedEntryOf(entry, parity)
  }

  /** A parity entry whose object is kept by its shards. */
  function isParityInUse(entry: Entry): boolean {
    const tags = parityTagsOf(entry)
    if (tags === undefined) return false
    const data = entries.byRoot(tags.dataRoot).find(({ sizeBytes }) => sizeBytes === tags.sizeBytes)
    return data !== undefined && codedOf(data)?.parity.root === entry.root
  }

  function homesOf({ data, code }: CodedEntry): readonly Home[] {
    return protectedHomes({ dataRoot: data.root, sizeBytes: data.sizeBytes, code }, members())
  }

  const isOwn = ({ member }: Home): boolean => member.signer === signer
  const ownSlots = (coded: CodedEntry): readonly number[] =>
    homesOf(coded)
      .filter(isOwn)
      .map(({ slot }) => slot)

  function isNamed(
    { data }: CodedEntry,
    { id, slot }: { readonly id: number | undefined; readonly slot: number },
  ): boolean {
    return (certificates.of(data)?.holders ?? []).some((holder) => holder.id === id && holder.slots.includes(slot))
  }

  function shardsDuty(coded: CodedEntry): Duty | undefined {
    const slots = ownSlots(coded)
    const missingCount = held.missingCount(coded, slots)
    if (missingCount === 0) return undefined
    const shardCount = slots.reduce((sum, slot) => sum + shardCountOf(coded.layout, slot), 0)
    return {
      kind: 'shards',
      why: 'home',
      coded,
      slots,
      missingBytes: missingCount * SEGMENT_SIZE_BYTES,
      heldCount: shardCount - missingCount,
    }
  }

  /** Entries of the same bytes share their shards: what protects one of them will do. */
  function sharesBetter({ root, sizeBytes }: Entry, better: CodedEntry): boolean {
    const same = entries.byRoot(root).filter((one) => one.sizeBytes === sizeBytes)
    return same.some((one) => certifiedOf(one, isKeptByShards)?.parity.root === better.parity.root)
  }

  /** While parity comes in, the object is being uploaded, and its certificate comes last. */
  function parityCount(entry: Entry): number {
    let [count, triedCount] = [0, 0]
    for (const parity of parities.of(entry)) {
      if (++triedCount > CODES_TRIED_MAX) break
      count += held.segmentCount(parity.entry.root)
    }
    return count
  }

  function isParity(entry: Entry): boolean {
    const tags = parityTagsOf(entry)
    return tags !== undefined && entries.byRoot(tags.dataRoot).some(({ sizeBytes }) => sizeBytes === tags.sizeBytes)
  }

  function copyCount(entry: Entry): number {
    const code = certificates.of(entry)?.copyCode
    return code === undefined ? REPLICA_COUNT : copiesNeededOf(code)
  }

  function unnamedCopyHomes(entry: Entry): readonly Home[] {
    const certified = certificates.of(entry)
    if (certified?.copyCode === undefined || !shelf.isWhole(entry)) return []
    const homes = copyHomes({ key: entry.root, count: copyCount(entry) }, members())
    if (!homes.some(isOwn)) return []
    return homes.filter(({ member }) => !certified.holders.some(({ id }) => id === member.id))
  }

  function wholeDuty(entry: Entry): Duty | undefined {
    if (shelf.isWhole(entry)) return undefined
    const missingCount = shelf.missingCount(entry)
    if (!Number.isFinite(missingCount)) return undefined
    const isHome = !isParity(entry) && homeSlot(entry, { signer, replicas: copyCount(entry) }, members()) !== undefined
    // Who signed for all of a parity holds no more of it than its slots once the object is kept by shards.
    const why = isHome ? 'home' : deps.hasSigned(entry) && !isParityInUse(entry) ? 'signed' : undefined
    if (why === undefined || deps.isDropped?.(entry) === true) return undefined
    const missingBytes = Math.min(entry.sizeBytes, missingCount * SEGMENT_SIZE_BYTES)
    return { kind: 'whole', why, missingBytes, heldCount: shelf.heldCount(entry) + parityCount(entry) }
  }

  /** Only what one would have to do if the tags were right decides whether one asks. */
  function searchDuty(entry: Entry): Duty | undefined {
    if (signer === undefined || members().every((member) => member.signer !== signer)) return undefined
    let triedCount = 0
    for (const parity of parities.of(entry)) {
      if (++triedCount <= CODES_TRIED_MAX && ownSlots(codedEntryOf(entry, parity)).length === 0) continue
      return { kind: 'search', why: 'home', missingBytes: 0, heldCount: 0 }
    }
    return undefined
  }

  /** Beside a copy: whoever gives that up asks for more. */
  function buildDuty(entry: Entry): Duty | undefined {
    const coded = provenOf(entry)
    return coded && shardsDuty(coded)
  }

  const withOwn = (coded: CodedEntry | undefined): OwnShards | undefined => coded && { coded, slots: ownSlots(coded) }

  return {
    of(entry) {
      const coded = codedOf(entry)
      if (coded !== undefined) return shardsDuty(coded)
      return wholeDuty(entry) ?? buildDuty(entry) ?? searchDuty(entry)
    },
    mayBeProven(entry) {
      if (codedOf(entry) !== undefined) return false
      for (const _ of parities.of(entry)) return true
      return false
    },
    betterOf(entry) {
      const kept = codedOf(entry)
      const better = kept && betterParity(kept, parities)
      if (better === undefined || sharesBetter(entry, better)) return undefined
      return ownSlots(kept!).length + ownSlots(better).length > 0 ? better : undefined
    },
    concerning(entry) {
      const tags = parityTagsOf(entry)
      if (tags === undefined) return [entry]
      return [entry, ...entries.byRoot(tags.dataRoot).filter(({ sizeBytes }) => sizeBytes === tags.sizeBytes)]
    },
    shardsOf: (entry) => withOwn(codedOf(entry)),
    provenShardsOf: (entry) => withOwn(provenOf(entry)),
    copyCount,
    hasSignedSlot(entry, slot) {
      const coded = provenOf(entry)
      const id = members().find((member) => member.signer === signer)?.id
      return coded !== undefined && isNamed(coded, { id, slot })
    },
    unnamedHomes(entry) {
      const coded = provenOf(entry)
      if (coded === undefined) return unnamedCopyHomes(entry)
      const homes = homesOf(coded)
      const own = homes.filter(isOwn).map(({ slot }) => slot)
      if (own.length === 0 || held.missingCount(coded, own) > 0) return []
      return homes.filter(({ slot, member }) => !isNamed(coded, { id: member.id, slot }))
    },
    isShared({ data, parity }) {
      const [ofData, ofParity] = [entries.byRoot(data.root), entries.byRoot(parity.root)]
      // Beyond so many nobody looks.
      if (Math.max(ofData.length, ofParity.length) >= ENTRIES_PER_ROOT_MAX) return true
      const isOfObject = (entry: Entry): boolean => {
        if (entry.root === data.root && entry.sizeBytes === data.sizeBytes) return true
        const tags = parityTagsOf(entry)
        return entry.root === parity.root && tags?.dataRoot === data.root && tags.sizeBytes === data.sizeBytes
      }
      return [...ofData, ...ofParity].some((entry) => !isOfObject(entry))
    },
  }
}

/** Proven, and enough of it at different holders. */
export function isKeptByShards(certified: {
  readonly proven: readonly number[]
  readonly isDurable: boolean
}): boolean {
  return isProven(certified) && certified.isDurable
}

export function isProven({ proven }: { readonly proven: readonly number[] }): boolean {
  return proven.length > 0
}
