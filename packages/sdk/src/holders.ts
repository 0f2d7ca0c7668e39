import {
  isFailure,
  placeHomes,
  placementOrder,
  type Abortable,
  type Failure,
  type Member,
  type Membership,
  type Root,
} from '@weightless/core'
import type { Client } from './client.ts'
import type { Contact } from './contacts.ts'
import { fail } from './errors.ts'
import { mapBounded } from './inOrder.ts'
import type { HeldEntry } from './storageNodeClient.ts'

/** Why a node could not serve, for the error that names them all. */
export type NodeFailure = { readonly node: string; readonly error: unknown }

/** Who should hold the copies of `root`, slot by slot, and who comes next. */
export type Placement = {
  /** min(replicas, members): a smaller network has fewer copies. */
  readonly needed: number
  /** For each slot its home, then the others in the order of that slot. */
  readonly slots: readonly (readonly Member[])[]
}

export function placementOf(root: Root, membership: Membership, replicas: number): Placement {
  const homes = placeHomes({ key: root, slotCount: replicas }, membership.members)
  return {
    needed: homes.length,
    slots: homes.map(({ slot, member }) => [
      member,
      ...placementOrder({ key: root, slot }, membership.members).filter(({ id }) => id !== member.id),
    ]),
  }
}

/** Everybody who may hold `root`, in the order in which to ask: homes first, then the order of the first slot. */
export function askingOrder(placement: Placement): readonly Member[] {
  const homes = placement.slots.map((slot) => slot[0]!)
  const ids = new Set(homes.map(({ id }) => id))
  return [...homes, ...(placement.slots[0] ?? []).filter(({ id }) => !ids.has(id))]
}

/** What the homes of `root` say before anything is paid. */
export type Preflight = { readonly placement: Placement; readonly known: readonly HeldEntry[] }

/** Nodes are asked a few at once when homes do not answer. */
const ASK_WINDOW = 8

/** Asks the homes whether they are of our network and what they know of `root`. With `needs: 'holders'`, goes on until enough
 *  nodes are reachable and throws `NODES_TOO_FEW` otherwise. Throws `NETWORK_MISMATCH` when that is why there are too few. */
export async function preflight(
  client: Client,
  root: Root,
  what: { readonly replicas: number; readonly needs: 'holders' | 'nothing' },
  options: Abortable,
): Promise<Preflight> {
  const placement = placementOf(root, await client.membership.read(options), what.replicas)
  const order = askingOrder(placement)
  const known: HeldEntry[] = []
  const failures: NodeFailure[] = []
  let reachableCount = 0
  const ask = async (member: Member, signal: AbortSignal): Promise<void> => {
    let contact: Contact | undefined
    try {
      contact = client.contacts.of(member.endpoint)
      const [status, entries] = await Promise.all([
        contact.status({ signal }),
        contact.node.entries(root, { signal, timeoutMs: ASK_TIMEOUT_MS }),
      ])
      known.push(...entries)
      if (status.readOnly && entries.length === 0)
        throw fail('NODE_REFUSED', { node: contact.url, reason: 'its store is read-only' })
      reachableCount += 1
    } catch (error) {
      signal.throwIfAborted()
      contact?.failed(error)
      failures.push({ node: member.endpoint, error })
    }
  }
  const homes = order.slice(0, placement.needed)
  await mapBounded(homes, { ...options, window: ASK_WINDOW }, ask)
  const stranger = failures.find(({ error }) => isFailure(error, 'NETWORK_MISMATCH'))
  if (reachableCount === 0 && stranger !== undefined) throw stranger.error
  for (let at = homes.length; what.needs === 'holders' && reachableCount < placement.needed; at += ASK_WINDOW) {
    if (at >= order.length) throw tooFew(root, placement, reachableCount, failures)
    await mapBounded(order.slice(at, at + ASK_WINDOW), { ...options, window: ASK_WINDOW }, ask)
  }
  return { placement, known }
}

/** A node that hangs must not hold up an upload: others are there. */
const ASK_TIMEOUT_MS = 3_000

function tooFew(root: Root, placement: Placement, reachable: number, failures: readonly NodeFailure[]): Failure {
  const mismatch = failures.find(({ error }) => isFailure(error, 'NETWORK_MISMATCH'))
  if (mismatch !== undefined) return mismatch.error as Failure
  return fail('NODES_TOO_FEW', { root, needed: placement.needed, reachable, failures: listFailures(failures) })
}

/** Names in one error: a person reads a few, a log keeps a line. */
const LISTED_MAX = 16

/** `http://a/ NODE_UNREACHABLE; http://b/ SEGMENT_PROOF_INVALID`. */
export function listFailures(failures: readonly NodeFailure[]): string {
  const lines = failures
    .slice(0, LISTED_MAX)
    .map(({ node, error }) => `${node} ${isFailure(error) ? error.code : String(error)}`)
  const rest = failures.length - lines.length
  return rest > 0 ? `${lines.join('; ')}; and ${rest} more` : lines.join('; ')
}
