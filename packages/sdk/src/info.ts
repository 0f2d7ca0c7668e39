import {
  isFailure,
  lossesNeededOf,
  MEMBERS_MAX,
  parseRoot,
  protectionOf,
  REPLICA_COUNT,
  shardLayoutOf,
  verifyCertificate,
  verifyReceipt,
  type Abortable,
  type Certificate,
  type CertificateFacts,
  type CertifiedHolder,
  type Entry,
  type Member,
  type Receipt,
  type Root,
  type Stage,
} from '@weightless/core'
import { certificateBytesMax, membershipHashes } from './certify.ts'
import type { Client } from './client.ts'
import type { Contact } from './contacts.ts'
import { isFinal, readEntry } from './entryOnChain.ts'
import { fail } from './errors.ts'
import { askingOrder, listFailures, placementOf, type NodeFailure } from './holders.ts'
import { mapBounded } from './inOrder.ts'
import { NOBODY } from './membership.ts'
import { withDeadline } from './scope.ts'
import { LIST_ENTRIES_MAX, type HeldEntry, type LoggedEntry } from './storageNodeClient.ts'

export type InfoOptions = Abortable & { readonly timeoutMs?: number | undefined }

/** What the network knows of a root. */
export type ObjectInfo = {
  readonly root: Root
  /** The stage of the first complete entry, or else of the first one. */
  readonly stage: Exclude<Stage, 'accepted'>
  /** Proven by the chain, ascending by seq. */
  readonly entries: readonly Entry[]
  readonly holders: readonly HolderInfo[]
  /** What a verified certificate of that entry says, or of another one of the same bytes, and what has become of it; `undefined` where
   *  no holder keeps one. */
  readonly protection: ProtectionInfo | undefined
}
export type ProtectionInfo = {
  readonly certificate: Certificate
  readonly facts: CertificateFacts
  /** Of the holders that signed, those that answer and still have what they signed for. */
  readonly presentHolderCount: number
  /** With these alone: so many more may vanish; `undefined` when they do not suffice any more. */
  readonly lossesSurvivedNow: number | undefined
}
export type HolderInfo = {
  readonly url: string
  readonly seq: number
  readonly complete: boolean
  readonly heldSegmentCount: number
  /** Under the code of its first parity: slots of which it holds every shard. */
  readonly slots: readonly number[]
  /** Verified; `undefined` while the entry is not complete there. */
  readonly receipt: Receipt | undefined
}

const INFO_TIMEOUT_MS = 60_000
/** All of a full registry: an object under a code may have as many holders. */
const NODES_ASKED_MAX: number = MEMBERS_MAX
const ASK_WINDOW = 8
const ENTRIES_SHOWN_MAX = 64

/** Asks homes and other nodes what they hold of `root` and proves the entries by the chain. Throws `OBJECT_UNKNOWN`. */
export async function info(client: Client, root: string, options: InfoOptions = {}): Promise<ObjectInfo> {
  const key = parseRoot(root)
  const { signal, timeoutMs = INFO_TIMEOUT_MS } = options
  return withDeadline({ signal, timeoutMs, what: 'info' }, client.deps, async (scope) => {
    const membership = await client.membership.read({ signal: scope })
    const placement = placementOf(key, membership, REPLICA_COUNT)
    const members = askingOrder(placement).slice(0, NODES_ASKED_MAX)
    const failures: NodeFailure[] = []
    const answers = await mapBounded(members, { window: ASK_WINDOW, signal: scope }, async (member, inner, rank) => {
      try {
        const contact = client.contacts.of(member.endpoint)
        const known = await contact.node.entries(key, { signal: inner })
        const first = known.find(({ complete }) => complete)
        const receipt =
          first && (await contact.node.receipt(key, { seq: first.seq, slot: rank % REPLICA_COUNT }, { signal: inner }))
        const isGood = receipt !== undefined && isOf(client, key, receipt, member.signer)
        return known.map((held) => ({
          held,
          url: contact.url,
          receipt: isGood && held.seq === receipt.entrySeq ? receipt : undefined,
        }))
      } catch (error) {
        inner.throwIfAborted()
        failures.push({ node: member.endpoint, error })
        return []
      }
    })
    const seen = answers.flat()
    const entries = await proven(
      client,
      key,
      seen.map(({ held }) => held),
      scope,
    )
    if (entries.length === 0) {
      if (failures.length === 0) throw fail('OBJECT_UNKNOWN', { root: key, asked: members.length })
      throw fail('OBJECT_UNAVAILABLE', { root: key, asked: members.length, failures: listFailures(failures) })
    }
    const holders = seen
      .filter(({ held }) => entries.some(({ seq }) => seq === held.seq))
      .map(({ held, url, receipt }) => ({
        url,
        seq: held.seq,
        complete: held.complete,
        heldSegmentCount: held.heldSegmentCount,
        slots: slotsOfHolder(held),
        receipt,
      }))
    const main =
      entries.find(({ seq }) => holders.some((holder) => holder.seq === seq && holder.complete)) ?? entries[0]!
    const signers = new Set(
      holders.filter(({ seq }) => seq === main.seq).flatMap(({ receipt }) => (receipt ? [receipt.signer] : [])),
    )
    const protection = await findProtection(client, main, entries, seen, scope)
    // A certificate tells what was; an object that cannot be read any more is not called durable for it.
    const isCertified = protection?.facts.isDurable === true && protection.lossesSurvivedNow !== undefined
    const isDurable = signers.size >= placement.needed || isCertified
    const stage = isDurable ? ((await isFinal(client.rpc, main, { signal: scope })) ? 'final' : 'durable') : 'anchored'
    return { root: key, stage, entries, holders, protection }
  })
}

type Seen = { readonly url: string; readonly held: HeldEntry }

/** The parity that a holder says it has most of. */
function slotsOfHolder({ parities }: HeldEntry): readonly number[] {
  return parities.reduce<readonly number[]>((most, { slots }) => (slots.length > most.length ? slots : most), [])
}

/** Holders differ while a certificate is made or repaired: the first one by which nothing is missing, or the best of a few. */
const CERTIFICATES_ASKED_MAX = 6
/** Entries of the same bytes are kept under the certificate of one of them, as a rule; a home that has lost its index may have made a
 *  smaller one for another (sim seed 56169). */
const CERTIFIED_ENTRIES_MAX = 4

async function findProtection(
  client: Client,
  main: Entry,
  entries: readonly Entry[],
  seen: readonly Seen[],
  signal: AbortSignal,
): Promise<ProtectionInfo | undefined> {
  const others = entries.filter(({ seq, sizeBytes }) => seq !== main.seq && sizeBytes === main.sizeBytes)
  let best: ProtectionInfo | undefined
  for (const entry of [main, ...others].slice(0, CERTIFIED_ENTRIES_MAX)) {
    const asked = seen.filter(({ held }) => held.seq === entry.seq)
    const found = await protectionOfEntry(client, entry, asked, signal)
    if (survivedBy(found) > survivedBy(best)) best = found
    if (isFull(best)) break
  }
  return best
}

async function protectionOfEntry(
  client: Client,
  entry: Entry,
  seen: readonly Seen[],
  signal: AbortSignal,
): Promise<ProtectionInfo | undefined> {
  const holders = seen.filter(({ held }) => held.complete || slotsOfHolder(held).length > 0)
  let best: ProtectionInfo | undefined
  for (const { url, held } of holders.slice(0, CERTIFICATES_ASKED_MAX)) {
    try {
      const [code = null] = held.parities.map((parity) => parity.code)
      const sizeBytesMax = certificateBytesMax({ sizeBytes: entry.sizeBytes, code })
      const certificate = await client.contacts
        .of(url)
        .node.certificate(entry.root, { seq: entry.seq, sizeBytesMax }, { signal })
      const facts = certificate && (await verifiedFacts(client, entry, certificate, signal))
      if (facts === undefined) continue
      const found = { certificate: certificate!, facts, ...presentNow(certificate!, facts, seen) }
      if (survivedBy(found) > survivedBy(best)) best = found
      if (isFull(best)) break
    } catch (error) {
      signal.throwIfAborted()
      if (!isFailure(error)) throw error
      client.deps.logger.warn('certificate.refused', { node: url, root: entry.root, code: error.code })
    }
  }
  return best
}

/** Below zero: it cannot be read by this one, or there is none. */
function survivedBy(found: ProtectionInfo | undefined): number {
  return found === undefined ? -2 : (found.lossesSurvivedNow ?? -1)
}

/** Nothing is missing by this one. */
function isFull(found: ProtectionInfo | undefined): boolean {
  return found !== undefined && survivedBy(found) >= (found.certificate.code?.m ?? REPLICA_COUNT - 1)
}

/** `undefined`: it is of another entry than the chain has. */
async function verifiedFacts(
  client: Client,
  entry: Entry,
  certificate: Certificate,
  signal: AbortSignal,
): Promise<CertificateFacts | undefined> {
  const { registry, chainId } = client.network
  const isSame =
    certificate.dataRoot === entry.root &&
    certificate.entrySeq === entry.seq &&
    certificate.sizeBytes === entry.sizeBytes
  if (registry === undefined || !isSame) return undefined
  const membershipHashOf = await membershipHashes(client, certificate, { signal })
  const facts = verifyCertificate(certificate, { chainId, registry, membershipHashOf })
  return facts.blockNumber === entry.blockNumber ? facts : undefined
}

function presentNow(
  { code, sizeBytes, parity }: Certificate,
  { holders }: CertificateFacts,
  seen: readonly Seen[],
): Pick<ProtectionInfo, 'presentHolderCount' | 'lossesSurvivedNow'> {
  const byUrl = new Map(seen.map(({ url, held }) => [trimmed(url), held]))
  const present = holders.flatMap(({ member, kind, slots }): Pick<CertifiedHolder, 'kind' | 'slots'>[] => {
    const held = byUrl.get(trimmed(member.endpoint))
    if (held === undefined) return []
    if (kind === 'copy') return held.complete ? [{ kind, slots }] : []
    const own = held.parities.find(({ seq, root }) => seq === parity?.seq && root === parity.root)?.slots ?? []
    const still = slots.filter((slot) => own.includes(slot))
    return still.length > 0 ? [{ kind, slots: still }] : []
  })
  const layout = code === null ? undefined : shardLayoutOf(sizeBytes, code)
  const shards = present.flatMap(({ kind, slots }) => (kind === 'shards' ? [slots] : []))
  const copyCount = present.length - shards.length
  const isReadable = copyCount > 0 || (layout !== undefined && new Set(shards.flat()).size >= layout.dataSlotCount)
  const { lossesSurvived } = protectionOf(
    { layout, shards, copyCount },
    { lossesNeeded: lossesNeededOf(code ?? undefined) },
  )
  return { presentHolderCount: present.length, lossesSurvivedNow: isReadable ? lossesSurvived : undefined }
}

function trimmed(url: string): string {
  return url.replace(/\/+$/, '')
}

export type ListOptions = Abortable & {
  /** Entries after this sequence number; from the first one by default. */
  readonly after?: number | undefined
  /** At most this many, up to 1000; default 100. */
  readonly limit?: number | undefined
  readonly timeoutMs?: number | undefined
}

const LIST_COUNT_DEFAULT = 100

/** Entries of the log in order, as the first node that answers tells them: what a list says is proven only when an object is
 *  read. Throws `OBJECT_UNAVAILABLE` when no node answers. */
export async function list(client: Client, options: ListOptions = {}): Promise<readonly LoggedEntry[]> {
  const { signal, after, limit = LIST_COUNT_DEFAULT, timeoutMs = INFO_TIMEOUT_MS } = options
  if (!Number.isInteger(limit) || limit < 1 || limit > LIST_ENTRIES_MAX) {
    throw fail('OPTION_INVALID', { name: 'limit', value: limit, max: LIST_ENTRIES_MAX })
  }
  return withDeadline({ signal, timeoutMs, what: 'list' }, client.deps, async (scope) => {
    const { members } = await client.membership.read({ signal: scope })
    const failures: NodeFailure[] = []
    const isAvoided = ({ endpoint }: Member): boolean => reached(client, endpoint)?.isAvoided() ?? true
    for (const member of [...members].sort((a, b) => Number(isAvoided(a)) - Number(isAvoided(b)))) {
      let contact: Contact | undefined
      try {
        contact = client.contacts.of(member.endpoint)
        return await contact.node.list({ after, limit }, { signal: scope })
      } catch (error) {
        scope.throwIfAborted()
        contact?.failed(error)
        failures.push({ node: member.endpoint, error })
      }
    }
    throw fail('OBJECT_UNAVAILABLE', { asked: failures.length, failures: listFailures(failures) })
  })
}

/** `undefined`: the endpoint is no URL. */
function reached(client: Client, endpoint: string): Contact | undefined {
  try {
    return client.contacts.of(endpoint)
  } catch {
    return undefined
  }
}

function isOf(client: Client, root: Root, receipt: Receipt, signer: string): boolean {
  try {
    verifyReceipt(receipt)
  } catch {
    return false
  }
  return (
    receipt.dataRoot === root &&
    receipt.chainId === client.network.chainId &&
    (signer === NOBODY || receipt.signer === signer)
  )
}

async function proven(
  client: Client,
  root: Root,
  held: readonly HeldEntry[],
  signal: AbortSignal,
): Promise<readonly Entry[]> {
  const bySeq = new Map(held.map((entry) => [entry.seq, entry]))
  const wanted = [...bySeq.values()].sort((a, b) => a.seq - b.seq).slice(0, ENTRIES_SHOWN_MAX)
  const entries = await mapBounded(
    wanted,
    { window: ASK_WINDOW, signal },
    async ({ seq, txHash, sizeBytes }, inner) => {
      const entry = await readEntry(client.rpc, { flow: client.network.flow, txHash, seq }, { signal: inner })
      return entry?.root === root && entry.sizeBytes === sizeBytes ? entry : undefined
    },
  )
  return entries.filter((entry) => entry !== undefined)
}
