import type { Address, Certificate, CertificateFacts, Entry, ErasureCode, Index, Root } from '@weightless/core'
import {
  certificateFromJson,
  chooseParity,
  fail as failCore,
  fingerprintsBySlot,
  membershipHash,
  verifyCertificate,
} from '@weightless/core'
import { numberKey } from '../flow/keys.ts'
import type { MembershipView } from '../flow/membership.ts'
import type { ParityIndex } from '../flow/parities.ts'
import { codedEntryOf, type CodedEntry } from './codedEntry.ts'
import type { Fingerprints } from './fingerprints.ts'
import type { HeldShards } from './heldShards.ts'

/** Certificates of entries, each verified here before it is kept: one for each data entry, the one that says most. */
export type Certificates = {
  /** What the kept certificate of an entry proves; `undefined` when none is kept, or its parity is on the chain no more. */
  of(entry: Entry): Certified | undefined
  get(entry: Entry): Certificate | undefined
  /** Verifies a certificate, with the fingerprints of data shards that are here as known, and keeps it if it says more than the one
   *  that is kept. Throws `CERTIFICATE_INVALID`, `RECEIPT_INVALID`, `MEMBERSHIP_INVALID`, `CODE_INVALID` or `SIZE_INVALID`. */
  take(entry: Entry, certificate: Certificate, options: { readonly signal: AbortSignal }): Promise<Certified>
}

/** What is left of a certificate when it is verified. */
export type Certified = {
  /** `null` where copies are all there is. */
  readonly parity: { readonly root: Root; readonly seq: number; readonly code: ErasureCode } | null
  /** Slots that count: data that nobody disputes, parity that is proven. */
  readonly slots: readonly number[]
  readonly proven: readonly number[]
  readonly isDurable: boolean
  readonly lossesSurvived: number
  readonly holderIds: readonly number[]
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
    get(entry) {
      const value = of(entry) && index.get(numberKey('certificate', entry.seq))
      return value && certificateFromJson(JSON.parse(new TextDecoder().decode(value)))
    },
    async take(entry, certificate, { signal }) {
      const certified = certifiedOf(certificate, await verify(entry, certificate, signal))
      const isMember = new Set(membership.current().members.map(({ id }) => id))
      if (!saysMore(certified, of(entry), (id) => isMember.has(id))) return certified
      const { root, sizeBytes, blockNumber } = entry
      const row: Row = { ...certified, root, sizeBytes, blockNumber }
      const encode = (value: object): Uint8Array => new TextEncoder().encode(JSON.stringify(value))
      await index.transaction(
        [
          { key: numberKey('certificate', entry.seq), value: encode(certificate) },
          { key: numberKey('certified', entry.seq), value: encode(row) },
        ],
        { durability: 'written' },
      )
      return certified
    },
  }
}

function refuse(reason: string, facts: Parameters<typeof failCore>[1]): Error {
  return failCore('CERTIFICATE_INVALID', { reason, ...facts })
}

function certifiedOf({ code, parity }: Certificate, facts: CertificateFacts): Certified {
  const slots = facts.holders.flatMap((holder) => (holder.kind === 'shards' ? holder.slots : []))
  return {
    parity: parity === null || code === null ? null : { ...parity, code },
    slots: [...new Set(slots)].sort((a, b) => a - b),
    proven: facts.proven,
    isDurable: facts.isDurable,
    lossesSurvived: facts.lossesSurvived,
    holderIds: facts.holders.map(({ member }) => member.id),
  }
}

/** Which of two certificates of one entry is kept. A parity that is proven and durable before one that is not, so that nobody
 *  takes protection away by proving a larger parity that he has not spread; then the one that counts; then who survives more, or
 *  names more of those who are members now. */
export function saysMore(one: Certified, kept: Certified | undefined, isMember: (id: number) => boolean): boolean {
  if (kept === undefined) return true
  const rank = ({ proven, isDurable }: Certified): number => (proven.length === 0 ? 0 : isDurable ? 2 : 1)
  if (rank(one) !== rank(kept)) return rank(one) > rank(kept)
  if (rank(one) > 0 && one.parity!.seq !== kept.parity!.seq)
    return chooseParity([one.parity!, kept.parity!]) === one.parity
  const memberCount = ({ holderIds }: Certified): number => holderIds.filter(isMember).length
  return (
    one.lossesSurvived - kept.lossesSurvived > 0 ||
    (one.lossesSurvived === kept.lossesSurvived && memberCount(one) > memberCount(kept))
  )
}
