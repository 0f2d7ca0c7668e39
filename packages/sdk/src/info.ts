import {
  parseRoot,
  REPLICA_COUNT,
  verifyReceipt,
  type Abortable,
  type Entry,
  type Member,
  type Receipt,
  type Root,
  type Stage,
} from '@weightless/core'
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
}
export type HolderInfo = {
  readonly url: string
  readonly seq: number
  readonly complete: boolean
  readonly heldSegmentCount: number
  /** Verified; `undefined` while the entry is not complete there. */
  readonly receipt: Receipt | undefined
}

const INFO_TIMEOUT_MS = 60_000
const NODES_ASKED_MAX = 32
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
        receipt,
      }))
    const main =
      entries.find(({ seq }) => holders.some((holder) => holder.seq === seq && holder.complete)) ?? entries[0]!
    const signers = new Set(
      holders.filter(({ seq }) => seq === main.seq).flatMap(({ receipt }) => (receipt ? [receipt.signer] : [])),
    )
    const isDurable = signers.size >= placement.needed
    const stage = isDurable ? ((await isFinal(client.rpc, main, { signal: scope })) ? 'final' : 'durable') : 'anchored'
    return { root: key, stage, entries, holders }
  })
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
