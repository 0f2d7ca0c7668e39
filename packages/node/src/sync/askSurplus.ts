import type { Address, Home, Member, Membership } from '@weightless/core'
import { fingerprintsBySlot, protectedHomes, type HeldReceipt } from '@weightless/core'
import type { CodedEntry } from '../erasure/codedEntry.ts'
import type { Fingerprints } from '../erasure/fingerprints.ts'
import type { HeldShards } from '../erasure/heldShards.ts'
import type { MembershipView } from '../flow/membership.ts'
import type { Peers } from '../peers/peers.ts'
import type { Receipts } from '../storage/receipts.ts'
import { askShardHomes, certifyHeld, type HomeClaim } from './askHomes.ts'
import type { Pace } from './pace.ts'
import { surplusOf, type Surplus } from './surplus.ts'

export type AskSurplusOptions = {
  readonly chainId: number
  readonly registry: Address
  /** The one that this node sees; `self` is its member, `undefined` where it is none. */
  readonly membership: Membership
  readonly self: Member | undefined
  readonly signal: AbortSignal
}
export type AskSurplusDeps = {
  readonly membership: MembershipView
  readonly held: HeldShards
  readonly fingerprints: Fingerprints
  readonly receipts: Pick<Receipts, 'signShards'>
  readonly peers: Peers
  readonly pace: Pace
}

/** Asks the other homes of an object to sign for their slots now: what of the shards here they keep (docs/erasure.md 12). What is here of
 *  a slot is to be compared with the fingerprints that its home claims before it counts as kept. */
export async function askSurplus(
  coded: CodedEntry,
  options: AskSurplusOptions,
  deps: AskSurplusDeps,
): Promise<{ readonly surplus: Surplus; readonly claims: readonly HomeClaim[] }> {
  const { self, signal } = options
  const { data, code, layout } = coded
  const { version, members } = options.membership
  const homes: readonly Home[] = protectedHomes({ dataRoot: data.root, sizeBytes: data.sizeBytes, code }, members)
  const own = homes.filter(({ member }) => member.id === self?.id).map(({ slot }) => slot)
  const others = homes.filter(({ member }) => member.id !== self?.id)
  const { answers, claims } = await askShardHomes(coded, others, { ...options, registryVersion: version }, deps)
  const known = await ownFingerprints(coded, deps, signal)
  const ownReceipt = await signOwn(coded, own, deps, signal)
  const receipts = [
    ...claims.map(({ receipt, fingerprints }) => ({ receipt, fingerprints })),
    ...(ownReceipt === undefined ? [] : [ownReceipt]),
  ]
  const facts = receipts.length === 0 ? undefined : certifyHeld(coded, receipts, known, options, deps).facts
  const surplus = surplusOf({
    layout,
    homes: homes.map(({ slot, member }) => ({ slot, id: member.id })),
    self: self?.id,
    held: deps.held.someSlots(coded),
    whole: deps.held.wholeSlots(coded),
    answers,
    certified: (facts?.holders ?? []).map(({ member, slots }) => ({ id: member.id, slots })),
  })
  return { surplus, claims }
}

async function ownFingerprints(
  coded: CodedEntry,
  { held, fingerprints, pace }: AskSurplusDeps,
  signal: AbortSignal,
): Promise<ReadonlyMap<number, Uint8Array>> {
  const slots = held.wholeSlots(coded).filter((slot) => slot < coded.code.k)
  const found = slots.length === 0 ? undefined : await fingerprints.of(coded, slots, { signal, pace })
  return found === undefined ? new Map<number, Uint8Array>() : fingerprintsBySlot(coded.layout, slots, found)
}

async function signOwn(
  coded: CodedEntry,
  own: readonly number[],
  { fingerprints, receipts, pace }: AskSurplusDeps,
  signal: AbortSignal,
): Promise<HeldReceipt | undefined> {
  if (own.length === 0) return undefined
  const found = await fingerprints.of(coded, own, { signal, pace })
  const receipt = found && receipts.signShards(coded, own, found)
  return receipt && { receipt, fingerprints: found }
}
