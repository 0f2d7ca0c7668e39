import { decodeBase64, encodeBase64 } from '../base64.ts'
import { equal } from '../bytes.ts'
import { fail, invariant } from '../errors.ts'
import type { Address, Root } from '../hex.ts'
import { CERTIFICATE_RECEIPTS_MAX } from '../limits.ts'
import { membershipHash } from '../storage/membership.ts'
import { slotsOf, verifyReceipt } from '../storage/receipt.ts'
import type { Member, Membership, Receipt } from '../types.ts'
import type { ErasureCode } from './code.ts'
import { lossesNeededOf, protectionOf, type Protection } from './protection.ts'
import { proveParity, type ParityProof, type ShardClaim } from './provenParity.ts'
import { shardLayoutOf, type ShardLayout } from './shardLayout.ts'
import { checkFingerprints, receiptKindOf } from './shardReceipt.ts'

/** What holders have signed about one entry, with all that is needed to check it offline but the hashes of the member lists
 *  (DESIGN D9, docs/erasure.md 10). A value of plain JSON. */
export type Certificate = {
  readonly version: 1
  readonly chainId: number
  readonly registry: Address
  /** The code that the object is protected by; null where it has copies alone. */
  readonly code: ErasureCode | null
  readonly dataRoot: Root
  readonly sizeBytes: number
  readonly entrySeq: number
  /** The parity that the shards are of; null where there is none. `seq` says where to find it, and is signed by nobody. */
  readonly parity: { readonly root: Root; readonly seq: number } | null
  readonly receipts: readonly Receipt[]
  /** For each receipt its fingerprints by slot, then by stripe, 16 bytes each, in base64; empty for a copy. */
  readonly fingerprints: readonly string[]
  /** The member list of each version that a receipt names. */
  readonly members: readonly CertificateMembers[]
}
export type CertificateMembers = { readonly version: number; readonly members: readonly CertificateMember[] }
/** The weight in decimal. */
export type CertificateMember = Omit<Member, 'weight'> & { readonly weight: string }

/** The object of a certificate: all but what its holders say. */
export type CertificateObject = Omit<Certificate, 'version' | 'receipts' | 'fingerprints' | 'members'>

/** A receipt with the fingerprints that it signs, none for a copy. */
export type HeldReceipt = { readonly receipt: Receipt; readonly fingerprints?: Uint8Array | undefined }

/** Puts together what `verifyCertificate` checks: receipts by slot, and of `memberships` the versions that they name. Throws
 *  `CERTIFICATE_INVALID` when one is missing, or the receipts are none or too many. */
export function assembleCertificate(
  object: CertificateObject,
  held: readonly HeldReceipt[],
  memberships: readonly Membership[],
): Certificate {
  checkReceiptCount(held.length)
  const { chainId, registry, code, dataRoot, sizeBytes, entrySeq, parity } = object
  const sorted = [...held].sort((a, b) => bySlot(a.receipt, b.receipt))
  const versions = [...new Set(sorted.map(({ receipt }) => receipt.registryVersion))].sort((a, b) => a - b)
  const members = versions.map((version) => {
    const membership = memberships.find((each) => each.version === version)
    if (membership === undefined)
      throw fail('CERTIFICATE_INVALID', { reason: 'the members of a version are not known', version })
    return membersToJson(membership)
  })
  return {
    version: 1,
    chainId,
    registry,
    code,
    dataRoot,
    sizeBytes,
    entrySeq,
    parity,
    receipts: sorted.map(({ receipt }) => receipt),
    fingerprints: sorted.map(({ fingerprints }) => encodeBase64(fingerprints ?? new Uint8Array(0))),
    members,
  }
}

/** What a certificate proves, to whoever knows chain and registry and the registry's hash of each member list (`undefined` for
 *  versions that it does not have). Nothing is taken on trust: signatures, membership, fingerprints and equations are checked.
 *  An equation that fails leaves its parity slot unproven. Size and sequence number are those that the certificate states: a
 *  reader compares them, and `blockNumber`, with the entry on chain.
 *  Throws `CERTIFICATE_INVALID`, `RECEIPT_INVALID`, `MEMBERSHIP_INVALID`, `CODE_INVALID` or `SIZE_INVALID`. */
export function verifyCertificate(
  certificate: Certificate,
  options: {
    readonly chainId: number
    readonly registry: Address
    readonly membershipHashOf: (version: number) => Uint8Array | undefined
    /** Losses to survive in order to be durable: those of the code (`lossesNeededOf`) by default. */
    readonly lossesNeeded?: number | undefined
    /** Fingerprints of data slots that the verifier computed itself (`proveParity`). */
    readonly known?: ReadonlyMap<number, Uint8Array> | undefined
  },
): CertificateFacts {
  checkObject(certificate, options)
  const layout = layoutOfObject(certificate)
  const lists = memberLists(certificate, options.membershipHashOf)
  const holders = certificate.receipts.map((receipt) => ({ receipt, member: signerOf(certificate, receipt, lists) }))
  checkDistinct(holders)
  const { shards, copies } = claimsOf(certificate, layout, holders)
  const { counted, proven, unproven, disputed } =
    layout === undefined
      ? NOTHING_PROVEN
      : proveParity(
          layout,
          shards.map(({ claim }) => claim),
          options.known,
        )
  const lossesNeeded = options.lossesNeeded ?? lossesNeededOf(certificate.code ?? undefined)
  return {
    ...protectionOf({ layout, shards: counted, copyCount: copies.length }, { lossesNeeded }),
    blockNumber: certificate.receipts[0]!.blockNumber,
    holders: [
      ...shards.map(({ member }, i) => ({ member, kind: 'shards' as const, slots: counted[i]! })),
      ...copies.map(({ member, slots }) => ({ member, kind: 'copy' as const, slots })),
    ],
    proven,
    unproven,
    disputed,
  }
}

export type CertificateFacts = Protection &
  Omit<ParityProof, 'counted'> & {
    /** Of the entry, as all holders say. */
    readonly blockNumber: number
    /** Those with shards by slot, then those with copies. */
    readonly holders: readonly CertifiedHolder[]
  }
export type CertifiedHolder = {
  readonly member: Member
  readonly kind: 'shards' | 'copy'
  /** Slots that count, or the rank of the copy. */
  readonly slots: readonly number[]
}

/** `shards` without a claim: there is no parity. */
const NOTHING_PROVEN: ParityProof = { counted: [], proven: [], unproven: [], disputed: [] }

type Holder = { readonly receipt: Receipt; readonly member: Member }

function checkReceiptCount(receiptCount: number): void {
  if (receiptCount < 1 || receiptCount > CERTIFICATE_RECEIPTS_MAX)
    throw fail('CERTIFICATE_INVALID', {
      reason: 'the number of receipts',
      receiptCount,
      receiptsMax: CERTIFICATE_RECEIPTS_MAX,
    })
}

/** Copies stand behind shards. */
function bySlot(a: Receipt, b: Receipt): number {
  const kinds = Number(receiptKindOf(a) === 'copy') - Number(receiptKindOf(b) === 'copy')
  return kinds || slotsOf(a.slots)[0]! - slotsOf(b.slots)[0]! || (a.signer < b.signer ? -1 : 1)
}

/** A member list as certificates carry it, and nodes tell it. */
export function membersToJson({ version, members }: Membership): CertificateMembers {
  return { version, members: members.map(memberToJson) }
}

function memberToJson({ id, signer, endpoint, domain, weight }: Member): CertificateMember {
  return { id, signer, endpoint, domain, weight: weight.toString() }
}

function checkObject(
  { chainId, registry, receipts, fingerprints }: Certificate,
  expected: { readonly chainId: number; readonly registry: Address },
): void {
  if (chainId !== expected.chainId || registry !== expected.registry)
    throw fail('CERTIFICATE_INVALID', {
      reason: 'it is of another chain or registry',
      chainId,
      registry,
      expectedChainId: expected.chainId,
      expectedRegistry: expected.registry,
    })
  checkReceiptCount(receipts.length)
  if (fingerprints.length !== receipts.length)
    throw fail('CERTIFICATE_INVALID', { reason: 'not every receipt has its fingerprints' })
}

/** `undefined` where copies are all that counts. */
function layoutOfObject({ code, sizeBytes, parity }: Certificate): ShardLayout | undefined {
  const layout = code === null ? undefined : shardLayoutOf(sizeBytes, code)
  if (layout === undefined && parity !== null)
    throw fail('CERTIFICATE_INVALID', { reason: 'an object of one segment, or without a code, has no parity' })
  return layout
}

function memberLists(
  { members }: Certificate,
  membershipHashOf: (version: number) => Uint8Array | undefined,
): ReadonlyMap<number, readonly Member[]> {
  const lists = new Map<number, readonly Member[]>()
  for (const list of members) {
    const { version } = list
    const refuse = (reason: string) => fail('CERTIFICATE_INVALID', { reason, version })
    const hash = membershipHashOf(version)
    if (lists.has(version)) throw refuse('the members of a version come twice')
    if (hash === undefined) throw refuse('the registry has no members of that version')
    const parsed = list.members.map((member) => ({ ...member, weight: BigInt(member.weight) }))
    if (!equal(membershipHash(parsed), hash)) throw refuse('the members are not those that the registry had')
    lists.set(version, parsed)
  }
  return lists
}

function signerOf(certificate: Certificate, receipt: Receipt, lists: ReadonlyMap<number, readonly Member[]>): Member {
  const { signer, registryVersion } = receipt
  const refuse = (reason: string) => fail('CERTIFICATE_INVALID', { reason, signer, registryVersion })
  for (const name of ['chainId', 'registry', 'dataRoot', 'entrySeq'] as const)
    if (receipt[name] !== certificate[name]) throw refuse(`${name} of a receipt differs`)
  if (receipt.blockNumber !== certificate.receipts[0]!.blockNumber) throw refuse('blockNumber of a receipt differs')
  const member = lists.get(registryVersion)?.find((each) => each.signer === signer)
  if (!lists.has(registryVersion)) throw refuse('the members of a version are missing')
  if (member === undefined) throw refuse('the signer is no member')
  verifyReceipt(receipt)
  return member
}

/** By id: a member may have changed its key between two versions. */
function checkDistinct(holders: readonly Holder[]): void {
  const ids = new Set<number>()
  for (const { member } of holders) {
    if (ids.has(member.id))
      throw fail('CERTIFICATE_INVALID', { reason: 'a member signs twice', id: member.id, signer: member.signer })
    ids.add(member.id)
  }
}

function claimsOf(
  { parity, fingerprints }: Certificate,
  layout: ShardLayout | undefined,
  holders: readonly Holder[],
): {
  readonly shards: readonly { readonly member: Member; readonly claim: ShardClaim }[]
  readonly copies: readonly { readonly member: Member; readonly slots: readonly number[] }[]
} {
  const shards: { member: Member; claim: ShardClaim }[] = []
  const copies: { member: Member; slots: readonly number[] }[] = []
  for (const [i, { receipt, member }] of holders.entries()) {
    const refuse = (reason: string) => fail('CERTIFICATE_INVALID', { reason, signer: member.signer })
    const bytes = decodeBase64(fingerprints[i]!)
    if (bytes === undefined) throw refuse('the fingerprints of a receipt are no base64')
    if (receiptKindOf(receipt) === 'copy') {
      if (bytes.length > 0) throw refuse('a copy has no fingerprints')
      copies.push({ member, slots: slotsOf(receipt.slots) })
      continue
    }
    if (parity === null) throw refuse('a receipt is for shards and there is no parity')
    invariant(layout !== undefined, 'where there is parity there is a layout')
    shards.push({ member, claim: checkFingerprints({ layout, parityRoot: parity.root }, receipt, bytes) })
  }
  return { shards, copies }
}
