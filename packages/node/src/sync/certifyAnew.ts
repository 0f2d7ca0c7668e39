import type { Address, Certificate, Entry, HeldReceipt, Member } from '@weightless/core'
import { fingerprintsBySlot, isFailure, placementOrder, protectedHomes } from '@weightless/core'
import { countsBefore } from '../erasure/betterParity.ts'
import { codedEntryOf, type CodedEntry } from '../erasure/codedEntry.ts'
import type { Fingerprints } from '../erasure/fingerprints.ts'
import type { HeldShards } from '../erasure/heldShards.ts'
import type { MembershipView } from '../flow/membership.ts'
import type { ParityIndex } from '../flow/parities.ts'
import type { Peers } from '../peers/peers.ts'
import type { Receipts } from '../storage/receipts.ts'
import { askShardHolders, askShardHomes, certifyHeld } from './askHomes.ts'
import { isKeptByShards, isProven } from './duty.ts'

/** Parities of one object whose homes are asked. */
const PARITIES_MAX = 4
/** Members asked what they have, as many as a reader asks. */
const HOLDERS_ASKED_MAX = 32
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

export type AnewOptions = {
  readonly chainId: number
  readonly registry: Address
  /** By which the object is kept already: only parity that counts before it is of use. */
  readonly kept?: CodedEntry | undefined
  readonly signal: AbortSignal
}
type Made = { readonly certificate: Certificate; readonly isKept: boolean }

/** A certificate by which the entry is kept by shards, of what its homes sign now: for an object whose certificate nobody has, because
 *  its writer was gone too soon, or because a reorganisation moved the entry to another block and what was signed speaks of the one
 *  before. Where none can be had, one that proves parity of which too little is left: its homes build the rest. Parity of which some is
 *  here comes first; who has all of the data asks about others too, a few: who made them up has to keep them somewhere before that
 *  proves anything. */
export async function certifyAnew(
  entry: Entry,
  options: AnewOptions,
  deps: CertifyAnewDeps,
): Promise<Certificate | undefined> {
  let proven: Certificate | undefined
  for (const coded of candidatesOf(entry, options.kept, deps)) {
    const made = await certify(coded, options, deps)
    if (made?.isKept === true) return made.certificate
    proven ??= made?.certificate
  }
  return proven
}

function candidatesOf(
  entry: Entry,
  kept: CodedEntry | undefined,
  { parities, held }: CertifyAnewDeps,
): readonly CodedEntry[] {
  const here: CodedEntry[] = []
  const others: CodedEntry[] = []
  let looked = 0
  for (const parity of parities.of(entry)) {
    if (++looked > PARITIES_LOOKED_MAX || here.length === PARITIES_MAX) break
    const coded = codedEntryOf(entry, parity)
    if (kept !== undefined && !countsBefore(coded, kept)) continue
    if (held.someSlots(coded).some((slot) => slot >= coded.code.k)) here.push(coded)
    else if (held.wholeSlots(coded).filter((slot) => slot < coded.code.k).length === coded.layout.dataSlotCount)
      others.push(coded)
  }
  return [...here, ...others].slice(0, PARITIES_MAX)
}

/** Of what the homes sign; of what anybody signs where the homes have not got all of it yet: they get it by the certificate. */
async function certify(
  coded: CodedEntry,
  { chainId, registry, signal }: AnewOptions,
  deps: CertifyAnewDeps,
): Promise<Made | undefined> {
  const { membership, signer, held } = deps
  const { data, code } = coded
  const { version, members } = membership.current()
  const homes = protectedHomes({ dataRoot: data.root, sizeBytes: data.sizeBytes, code }, members)
  const isOther = (member: Member): boolean => member.signer !== signer
  const asking = { chainId, registry, registryVersion: version, signal }
  const otherHomes = homes.filter(({ member }) => isOther(member))
  const { claims } = await askShardHomes(coded, otherHomes, asking, deps)
  const ofHomes = claims.map(({ receipt, fingerprints }) => ({ receipt, fingerprints }))
  const ownHomes = homes.filter(({ member }) => !isOther(member)).map(({ slot }) => slot)
  const byHomes = await certifyWith(ownHomes, ofHomes, coded, asking, deps)
  if (byHomes?.isKept === true || claims.length === otherHomes.length) return byHomes
  const others = placementOrder({ key: data.root, slot: 0 }, members).filter(isOther).slice(0, HOLDERS_ASKED_MAX)
  const all = await askShardHolders(coded, others, asking, deps)
  return (await certifyWith(held.wholeSlots(coded), all, coded, asking, deps)) ?? byHomes
}

/** `own`: slots that this node signs for, of those that are here. */
async function certifyWith(
  own: readonly number[],
  others: readonly HeldReceipt[],
  coded: CodedEntry,
  { chainId, registry, signal }: AnewOptions,
  deps: CertifyAnewDeps,
): Promise<Made | undefined> {
  const { fingerprints, receipts, held } = deps
  const { code, layout } = coded
  const all = [...others]
  const ownPrints = own.length > 0 ? await fingerprints.of(coded, own, { signal }) : undefined
  const receipt = ownPrints && receipts.signShards(coded, own, ownPrints)
  if (receipt !== undefined) all.push({ receipt, fingerprints: ownPrints })
  if (all.length === 0) return undefined
  const whole = held.wholeSlots(coded).filter((slot) => slot < code.k)
  const wholePrints = whole.length > 0 ? await fingerprints.of(coded, whole, { signal }) : undefined
  const known = wholePrints && fingerprintsBySlot(layout, whole, wholePrints)
  try {
    const { certificate, facts } = certifyHeld(coded, all, known ?? new Map(), { chainId, registry }, deps)
    return isProven(facts) ? { certificate, isKept: isKeptByShards(facts) } : undefined
  } catch (error) {
    // Of members or blocks that this node has not seen yet.
    if (isFailure(error)) return undefined
    throw error
  }
}
