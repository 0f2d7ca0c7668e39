import type { Address, Certificate, Entry, HeldReceipt, Member } from '@weightless/core'
import { fingerprintsBySlot, isFailure, protectedHomes } from '@weightless/core'
import { codedEntryOf, type CodedEntry } from '../erasure/codedEntry.ts'
import type { Fingerprints } from '../erasure/fingerprints.ts'
import type { HeldShards } from '../erasure/heldShards.ts'
import type { MembershipView } from '../flow/membership.ts'
import type { ParityIndex } from '../flow/parities.ts'
import type { Peers } from '../peers/peers.ts'
import type { Receipts } from '../storage/receipts.ts'
import { askShardHomes, certifyHeld } from './askHomes.ts'
import { isKeptByShards } from './duty.ts'

/** Parities of one object whose homes are asked. */
const PARITIES_MAX = 4
/** Looked at to find those. */
const PARITIES_LOOKED_MAX = 256

export type CertifyAnewDeps = {
  readonly parities: ParityIndex
  readonly membership: MembershipView
  readonly peers: Peers
  readonly held: HeldShards
  readonly fingerprints: Fingerprints
  readonly receipts: Pick<Receipts, 'signShards'>
  readonly signer: Address | undefined
}

/** A certificate by which the entry is kept by shards, of what its homes sign now: for an object whose certificate nobody has, because
 *  its writer was gone too soon, or because a reorganisation moved the entry to another block and what was signed speaks of the one
 *  before. Only of parity of which some is here: who made up the others has to keep them somewhere first. */
export async function certifyAnew(
  entry: Entry,
  options: { readonly chainId: number; readonly registry: Address; readonly signal: AbortSignal },
  deps: CertifyAnewDeps,
): Promise<Certificate | undefined> {
  for (const coded of candidatesOf(entry, deps)) {
    const certificate = await certify(coded, options, deps)
    if (certificate !== undefined) return certificate
  }
  return undefined
}

function candidatesOf(entry: Entry, { parities, held }: CertifyAnewDeps): readonly CodedEntry[] {
  const found: CodedEntry[] = []
  let looked = 0
  for (const parity of parities.of(entry)) {
    const coded = codedEntryOf(entry, parity)
    if (held.someSlots(coded).some((slot) => slot >= coded.code.k)) found.push(coded)
    if (found.length === PARITIES_MAX || ++looked === PARITIES_LOOKED_MAX) break
  }
  return found
}

async function certify(
  coded: CodedEntry,
  { chainId, registry, signal }: Parameters<typeof certifyAnew>[1],
  deps: CertifyAnewDeps,
): Promise<Certificate | undefined> {
  const { membership, fingerprints, receipts, signer, held } = deps
  const { data, code, layout } = coded
  const { version, members } = membership.current()
  const homes = protectedHomes({ dataRoot: data.root, sizeBytes: data.sizeBytes, code }, members)
  const isSelf = ({ member }: { readonly member: Member }): boolean => member.signer === signer
  const asking = { chainId, registry, registryVersion: version, signal }
  const { claims } = await askShardHomes(
    coded,
    homes.filter((home) => !isSelf(home)),
    asking,
    deps,
  )
  const all: HeldReceipt[] = claims.map(({ receipt, fingerprints: told }) => ({ receipt, fingerprints: told }))
  const own = homes.filter(isSelf).map(({ slot }) => slot)
  const ownPrints = own.length > 0 ? await fingerprints.of(coded, own, { signal }) : undefined
  const receipt = ownPrints && receipts.signShards(coded, own, ownPrints)
  if (receipt !== undefined) all.push({ receipt, fingerprints: ownPrints })
  const whole = held.wholeSlots(coded).filter((slot) => slot < code.k)
  const wholePrints = whole.length > 0 ? await fingerprints.of(coded, whole, { signal }) : undefined
  const known = wholePrints && fingerprintsBySlot(layout, whole, wholePrints)
  if (all.length === 0) return undefined
  try {
    const { certificate, facts } = certifyHeld(coded, all, known ?? new Map(), { chainId, registry }, deps)
    return isKeptByShards(facts) ? certificate : undefined
  } catch (error) {
    // Of members or blocks that this node has not seen yet.
    if (isFailure(error)) return undefined
    throw error
  }
}
