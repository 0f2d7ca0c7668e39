import type { Address, Certificate, Entry, HeldReceipt, Member, Receipt } from '@weightless/core'
import {
  assembleCertificate,
  fingerprintsSizeOf,
  isFailure,
  membershipHash,
  presentSlots,
  receiptKindOf,
  shardCountOf,
  verifyCertificate,
  verifyReceipt,
  type CertificateFacts,
} from '@weightless/core'
import { FINGERPRINT_SIZE_BYTES } from '@weightless/kernels'
import { mapBounded } from '@weightless/sdk'
import type { CodedEntry } from '../erasure/codedEntry.ts'
import { isReceiptOf } from '../flow/entries.ts'
import type { MembershipView } from '../flow/membership.ts'
import type { Peers } from '../peers/peers.ts'
import type { HomeAnswer } from './surplus.ts'

/** A home of a slot, or of the copy of that rank, that is not this node. */
export type OtherHome = { readonly slot: number; readonly member: Member }
export type AskHomesOptions = {
  readonly chainId: number
  readonly registry: Address
  /** The version that this node sees: a home that sees another one may be giving up what it is asked for. */
  readonly registryVersion: number
  readonly signal: AbortSignal
}
export type AskHomesDeps = { readonly peers: Peers; readonly membership: MembershipView }

const ASK_WINDOW = 4
/** A home that has not signed for a slot yet reads it first: 20 s are a gigabyte of a slow disk. */
const SHARDS_TIMEOUT_MS = 20_000
const STATUS_TIMEOUT_MS = 3_000

/** What a home signed a moment ago for its slot. */
export type HomeClaim = {
  readonly slot: number
  readonly id: number
  readonly receipt: Receipt
  readonly fingerprints: Uint8Array
}

/** Asks the homes of an object to sign for their slots now. A receipt that does not verify is no answer. */
export async function askShardHomes(
  coded: CodedEntry,
  homes: readonly OtherHome[],
  options: AskHomesOptions,
  deps: AskHomesDeps,
): Promise<{ readonly answers: ReadonlyMap<number, HomeAnswer>; readonly claims: readonly HomeClaim[] }> {
  const { data, parity, layout } = coded
  const answers = new Map<number, HomeAnswer>()
  const claims: HomeClaim[] = []
  await askEach(homes, options, deps, async ({ slot, member }, signal) => {
    const fingerprintBytesMax = shardCountOf(layout, slot) * FINGERPRINT_SIZE_BYTES
    const what = { seq: data.seq, parity: parity.seq, slots: [slot], fingerprintBytesMax }
    answers.set(slot, 'silent')
    const told = await deps.peers.of(member)!.shards(data.root, what, { signal, timeoutMs: SHARDS_TIMEOUT_MS })
    if (!(await seesSame(member, options, deps, signal))) return
    if (told.kind === 'incomplete') return void answers.set(slot, 'lacks')
    const { receipt, fingerprints } = told.held
    const { facts } = certifyHeld(coded, [{ receipt, fingerprints }], new Map(), options, deps)
    if (facts.holders.some((holder) => holder.member.id === member.id)) {
      claims.push({ slot, id: member.id, receipt, fingerprints })
      answers.set(slot, 'holds')
    }
  })
  return { answers, claims }
}

/** Asks members what they have of an object, home or not, and to sign for it. A receipt that does not verify is no answer. */
export async function askShardHolders(
  coded: CodedEntry,
  members: readonly Member[],
  options: AskHomesOptions,
  deps: AskHomesDeps,
): Promise<readonly HeldReceipt[]> {
  const { data, parity, layout } = coded
  const held: HeldReceipt[] = []
  const fingerprintBytesMax = fingerprintsSizeOf(layout, presentSlots(layout))
  const asked = members.map((member) => ({ slot: 0, member }))
  await askEach(asked, options, deps, async ({ member }, signal) => {
    const what = { seq: data.seq, parity: parity.seq, fingerprintBytesMax }
    const told = await deps.peers.of(member)!.shards(data.root, what, { signal, timeoutMs: SHARDS_TIMEOUT_MS })
    if (told.kind === 'incomplete') return
    const { facts } = certifyHeld(coded, [told.held], new Map(), options, deps)
    if (facts.holders.some((holder) => holder.member.id === member.id)) held.push(told.held)
  })
  return held
}

/** Members among these homes that sign for a copy of the entry now. */
export async function askCopyHomes(
  entry: Entry,
  homes: readonly OtherHome[],
  options: AskHomesOptions,
  deps: AskHomesDeps,
): Promise<ReadonlySet<number>> {
  const vouching = new Set<number>()
  await askEach(homes, options, deps, async ({ slot, member }, signal) => {
    const what = { seq: entry.seq, slot }
    const receipt = await deps.peers.of(member)!.receipt(entry.root, what, { signal, timeoutMs: STATUS_TIMEOUT_MS })
    if (receipt === undefined || !(await seesSame(member, options, deps, signal))) return
    const isOfHome =
      receipt.signer === member.signer &&
      receipt.chainId === options.chainId &&
      receipt.registry === options.registry &&
      receiptKindOf(receipt) === 'copy' &&
      isReceiptOf(receipt, entry)
    if (!isOfHome) return
    verifyReceipt(receipt)
    vouching.add(member.id)
  })
  return vouching
}

/** A certificate of these receipts alone, verified with what this node knows of the data. Throws like `verifyCertificate`. */
export function certifyHeld(
  { data, parity, code }: CodedEntry,
  held: readonly HeldReceipt[],
  known: ReadonlyMap<number, Uint8Array>,
  { chainId, registry }: Pick<AskHomesOptions, 'chainId' | 'registry'>,
  { membership }: Pick<AskHomesDeps, 'membership'>,
): { readonly certificate: Certificate; readonly facts: CertificateFacts } {
  const object = {
    chainId,
    registry,
    code,
    dataRoot: data.root,
    sizeBytes: data.sizeBytes,
    entrySeq: data.seq,
    parity: { root: parity.root, seq: parity.seq },
  }
  const versions = new Set(held.map(({ receipt }) => receipt.registryVersion))
  const memberships = [...versions].flatMap((version) => membership.at(version) ?? [])
  const certificate = assembleCertificate(object, held, memberships)
  const membershipHashOf = (version: number): Uint8Array | undefined => {
    const list = membership.at(version)
    return list && membershipHash(list.members)
  }
  return { certificate, facts: verifyCertificate(certificate, { chainId, registry, membershipHashOf, known }) }
}

async function askEach(
  homes: readonly OtherHome[],
  { signal }: AskHomesOptions,
  { peers }: AskHomesDeps,
  ask: (home: OtherHome, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const able = homes.filter(({ member }) => peers.of(member) !== undefined)
  await mapBounded(able, { window: ASK_WINDOW, signal }, async (home, scope) => {
    try {
      await ask(home, scope)
      peers.succeeded(home.member)
    } catch (error) {
      signal.throwIfAborted()
      if (!isFailure(error)) throw error
      peers.failed(home.member, error)
    }
  })
}

/** Asked after the receipt: a home gives nothing up that it holds under the membership that it sees. */
async function seesSame(
  member: Member,
  { registryVersion }: AskHomesOptions,
  { peers }: AskHomesDeps,
  signal: AbortSignal,
): Promise<boolean> {
  const status = await peers.of(member)!.status({ signal, timeoutMs: STATUS_TIMEOUT_MS })
  return status.signer === member.signer && status.registryVersion === registryVersion
}
