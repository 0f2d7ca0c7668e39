import type {
  Address,
  Certificate,
  CertificateFacts,
  Entry,
  ErasureCode,
  HeldReceipt,
  Index,
  Root,
} from '@weightless/core'
import {
  assembleCertificate,
  certificateFromJson,
  chooseParity,
  fail as failCore,
  fingerprintsBySlot,
  membershipHash,
  protectedHomes,
  verifyCertificate,
} from '@weightless/core'
import { numberKey } from '../flow/keys.ts'
import type { MembershipView } from '../flow/membership.ts'
import type { ParityIndex } from '../flow/parities.ts'
import { createTurns } from '../turns.ts'
import { bringsNews, hasSameReceipts, isOfSameParity, unionOf } from './certificateUnion.ts'
import { codedEntryOf, type CodedEntry } from './codedEntry.ts'
import type { Fingerprints } from './fingerprints.ts'
import type { HeldShards } from './heldShards.ts'

/** Certificates of entries, each verified here before it is kept: one for each data entry, the one that says most. */
export type Certificates = {
  /** What the kept certificate of an entry proves; `undefined` when none is kept, or its parity is on the chain no more. */
  of(entry: Entry): Certified | undefined
  get(entry: Entry): Certificate | undefined
  /** Verifies a certificate, with the fingerprints of data shards that are here as known, and keeps it if it says more than the one
   *  that is kept; of one parity the receipts of both are put together. Resolves to what the given one proves, once that is
   *  synced. Throws `CERTIFICATE_INVALID`, `RECEIPT_INVALID`, `MEMBERSHIP_INVALID`, `CODE_INVALID` or `SIZE_INVALID`. */
  take(entry: Entry, certificate: Certificate, options: { readonly signal: AbortSignal }): Promise<Certified>
  /** Puts a holder's receipt into the certificate that is kept; whether that says more now. */
  add(entry: Entry, held: HeldReceipt, options: { readonly signal: AbortSignal }): Promise<boolean>
}

/** What is left of a certificate when it is verified. */
export type Certified = {
  /** Where copies are all there is, which an object of one segment has: the code that says how many, if one does. */
  readonly copyCode?: ErasureCode | undefined
  /** `null` where copies are all there is. */
  readonly parity: { readonly root: Root; readonly seq: number; readonly code: ErasureCode } | null
  /** Slots that count: data that nobody disputes, parity that is proven. */
  readonly slots: readonly number[]
  readonly proven: readonly number[]
  readonly isDurable: boolean
  readonly lossesSurvived: number
  /** Slots that count, by holder; none of a copy. */
  readonly holders: readonly { readonly id: number; readonly slots: readonly number[] }[]
}

export type CertificatesOptions = { readonly chainId: number; readonly registry: Address }
export type CertificatesDeps = {
  readonly index: Index
  readonly membership: MembershipView
  readonly parities: ParityIndex
  readonly held: HeldShards
  readonly fingerprints: Fingerprints
}

type Row = Certified & { readonly root: Root; readonly sizeBytes: number; readonly blockNumber: number }

export function createCertificates(options: CertificatesOptions, deps: CertificatesDeps): Certificates {
  const { index, membership, parities, held, fingerprints } = deps
  const inTurn = createTurns<number>()

  function of(entry: Entry): Certified | undefined {
    const value = index.get(numberKey('certified', entry.seq))
    if (value === undefined) return undefined
    const { root, sizeBytes, blockNumber, ...certified } = JSON.parse(new TextDecoder().decode(value)) as Row
    const isOfEntry = root === entry.root && sizeBytes === entry.sizeBytes && blockNumber === entry.blockNumber
    const { parity } = certified
    const isParityThere = parity === null || parities.named(entry, parity.seq)?.entry.root === parity.root
    return isOfEntry && isParityThere ? certified : undefined
  }

  function codedOf(entry: Entry, { code, parity }: Certificate): CodedEntry | undefined {
    if (parity === null) return undefined
    const found = parities.named(entry, parity.seq)
    const isSame =
      found !== undefined &&
      found.entry.root === parity.root &&
      found.tags.code.k === code?.k &&
      found.tags.code.m === code.m
    if (!isSame) throw refuse('no entry of the log is that parity', { parity: parity.seq })
    return codedEntryOf(entry, found)
  }

  async function verify(entry: Entry, certificate: Certificate, signal: AbortSignal): Promise<CertificateFacts> {
    const { dataRoot, entrySeq, sizeBytes } = certificate
    if (dataRoot !== entry.root || entrySeq !== entry.seq || sizeBytes !== entry.sizeBytes)
      throw refuse('it is of another entry', { dataRoot, entrySeq, sizeBytes })
    const coded = codedOf(entry, certificate)
    const trusted = { ...options, membershipHashOf }
    const facts = verifyCertificate(certificate, trusted)
    if (facts.blockNumber !== entry.blockNumber)
      throw refuse('it is of another block', { blockNumber: facts.blockNumber, expected: entry.blockNumber })
    if (coded === undefined || facts.proven.length === 0) return facts
    // Only now: reading our own shards costs more than all signatures.
    const known = await ownFingerprints(coded, signal)
    return known.size === 0 ? facts : verifyCertificate(certificate, { ...trusted, known })
  }

  function membershipHashOf(version: number): Uint8Array | undefined {
    const known = membership.at(version)
    return known && membershipHash(known.members)
  }

  async function ownFingerprints(coded: CodedEntry, signal: AbortSignal): Promise<ReadonlyMap<number, Uint8Array>> {
    const slots = held.wholeSlots(coded).filter((slot) => slot < coded.code.k)
    const found = slots.length > 0 ? await fingerprints.of(coded, slots, { signal }) : undefined
    return found === undefined ? new Map<number, Uint8Array>() : fingerprintsBySlot(coded.layout, slots, found)
  }

  return {
    of,
    get,
    // In turn: what is kept is read, put together with what came, verified and written; who came between would be lost.
    take: (entry, certificate, { signal }) => inTurn(entry.seq, () => take(entry, certificate, signal)),
    add: (entry, own, { signal }) => inTurn(entry.seq, () => add(entry, own, signal)),
  }

  async function take(entry: Entry, certificate: Certificate, signal: AbortSignal): Promise<Certified> {
    const certified = certifiedOf(certificate, await verify(entry, certificate, signal))
    // Synced: without a data holder nobody could prove the parity anew, so losing its power must not cost all nodes the proof.
    const candidates = [{ certificate, certified }, ...(await unions(entry, certificate, signal))]
    await keep(entry, candidates, { durability: 'synced' })
    return certified
  }

  async function add(entry: Entry, own: HeldReceipt, signal: AbortSignal): Promise<boolean> {
    const kept = get(entry)
    const members = membership.at(own.receipt.registryVersion)
    if (kept === undefined || members === undefined) return false
    const alone = assembleCertificate(kept, [own], [members])
    // What a crash takes of this is asked for again.
    return await keep(entry, await unions(entry, alone, signal), { durability: 'written' })
  }

  function get(entry: Entry): Certificate | undefined {
    const value = of(entry) && index.get(numberKey('certificate', entry.seq))
    return value && certificateFromJson(JSON.parse(new TextDecoder().decode(value)))
  }

  /** What the kept certificate and another one say together: those who are members now, and all, since who has left may come back. */
  async function unions(entry: Entry, other: Certificate, signal: AbortSignal): Promise<readonly Candidate[]> {
    const kept = get(entry)
    if (kept === undefined || !isOfSameParity(kept, other) || !bringsNews(other, kept, isMember())) return []
    const found: Candidate[] = []
    for (const of of [isMember(), () => true]) {
      for (const prefer of ['kept', 'other'] as const) {
        const certificate = unionOf(kept, other, { isMember: of, prefer })
        if (certificate === undefined || found.some((one) => hasSameReceipts(one.certificate, certificate))) continue
        found.push({ certificate, certified: certifiedOf(certificate, await verify(entry, certificate, signal)) })
      }
    }
    return found
  }

  function isMember(): (id: number) => boolean {
    const ids = new Set(membership.current().members.map(({ id }) => id))
    return (id) => ids.has(id)
  }

  function placesOf({ root, sizeBytes }: Entry, { parity }: Certified): Places {
    const { members } = membership.current()
    const homes = parity === null ? [] : protectedHomes({ dataRoot: root, sizeBytes, code: parity.code }, members)
    const homeOf = new Map(homes.map(({ slot, member }) => [slot, member.id]))
    return { isMember: isMember(), isHome: (id, slot) => homeOf.get(slot) === id }
  }

  /** Keeps the best of these if it says more than what is kept. */
  async function keep(
    entry: Entry,
    candidates: readonly Candidate[],
    options: Parameters<Index['transaction']>[1],
  ): Promise<boolean> {
    const before = of(entry)
    let best: Candidate | undefined
    for (const candidate of candidates)
      if (saysMore(candidate.certified, best?.certified ?? before, placesOf(entry, candidate.certified)))
        best = candidate
    if (best === undefined) return false
    const { root, sizeBytes, blockNumber } = entry
    const row: Row = { ...best.certified, root, sizeBytes, blockNumber }
    const encode = (value: object): Uint8Array => new TextEncoder().encode(JSON.stringify(value))
    await index.transaction(
      [
        { key: numberKey('certificate', entry.seq), value: encode(best.certificate) },
        { key: numberKey('certified', entry.seq), value: encode(row) },
      ],
      options,
    )
    return true
  }
}

/** Where the slots of an object belong under the members of now. */
export type Places = {
  readonly isMember: (id: number) => boolean
  readonly isHome: (id: number, slot: number) => boolean
}
type Candidate = { readonly certificate: Certificate; readonly certified: Certified }

function refuse(reason: string, facts: Parameters<typeof failCore>[1]): Error {
  return failCore('CERTIFICATE_INVALID', { reason, ...facts })
}

function certifiedOf({ code, parity }: Certificate, facts: CertificateFacts): Certified {
  const holders = facts.holders.map(({ member, kind, slots }) => ({
    id: member.id,
    slots: kind === 'shards' ? slots : [],
  }))
  const slots = holders.flatMap((holder) => holder.slots)
  return {
    ...(parity === null && code !== null ? { copyCode: code } : {}),
    parity: parity === null || code === null ? null : { ...parity, code },
    slots: [...new Set(slots)].sort((a, b) => a - b),
    proven: facts.proven,
    isDurable: facts.isDurable,
    lossesSurvived: facts.lossesSurvived,
    holders,
  }
}

/** Which of two certificates of one entry is kept. A parity that is proven and durable before one that is not, so that nobody
 *  takes protection away by proving a larger parity that he has not spread; then the one that counts; then who names more slots at
 *  those who are members now, more of them at their homes (others give theirs up), more members, survives more, and names fewer who
 *  have left. */
export function saysMore(one: Certified, kept: Certified | undefined, { isMember, isHome }: Places): boolean {
  if (kept === undefined) return true
  const rank = ({ proven, isDurable }: Certified): number => (proven.length === 0 ? 0 : isDurable ? 2 : 1)
  if (rank(one) !== rank(kept)) return rank(one) > rank(kept)
  if (rank(one) > 0 && one.parity!.seq !== kept.parity!.seq)
    return chooseParity([one.parity!, kept.parity!]) === one.parity
  const present = ({ holders }: Certified): Certified['holders'] => holders.filter(({ id }) => isMember(id))
  const slotsOf = (certified: Certified): readonly number[] => present(certified).flatMap(({ slots }) => slots)
  const atHome = ({ holders }: Certified): number =>
    holders.reduce((sum, { id, slots }) => sum + slots.filter((slot) => isHome(id, slot)).length, 0)
  const more =
    new Set(slotsOf(one)).size - new Set(slotsOf(kept)).size ||
    atHome(one) - atHome(kept) ||
    present(one).length - present(kept).length ||
    slotsOf(one).length - slotsOf(kept).length ||
    one.lossesSurvived - kept.lossesSurvived ||
    kept.holders.length - one.holders.length
  return more > 0
}
