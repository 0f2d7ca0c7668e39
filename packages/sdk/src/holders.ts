import {
  isFailure,
  lossesNeededOf,
  copyHomes,
  placementOrder,
  protectedHomes,
  shardLayoutOf,
  type Abortable,
  type ErasureCode,
  type Failure,
  type Home,
  type Member,
  type Membership,
  type Root,
} from '@weightless/core'
import type { Client } from './client.ts'
import type { Contact } from './contacts.ts'
import { fail } from './errors.ts'
import { mapBounded } from './inOrder.ts'
import { childScope } from './scope.ts'
import type { HeldEntry } from './storageNodeClient.ts'

/** Why a node could not serve, for the error that names them all. */
export type NodeFailure = { readonly node: string; readonly error: unknown }

/** Who should hold the copies of `root`, or the shards of its slots, and who comes next. */
export type Placement = {
  /** Holders that `durable` asks for. Of copies without a code min(replicas, members): a smaller network has fewer. */
  readonly needed: number
  readonly slots: readonly SlotOrder[]
}
/** A slot with its home, then the others in the order of that slot. */
export type SlotOrder = { readonly slot: number; readonly order: readonly Member[] }

export function placementOf(root: Root, membership: Membership, replicas: number): Placement {
  const homes = copyHomes({ key: root, count: replicas }, membership.members)
  return { needed: homes.length, slots: ordersOf(root, homes, membership) }
}

/** The same for an object under a code: its present slots, or 1 + m copies of a single segment. `needed` does not give way in a
 *  smaller network: what a code promises, its holders must bear out (docs/erasure.md 9). */
export function codedPlacementOf(
  object: {
    readonly root: Root
    readonly sizeBytes: number
    readonly code: ErasureCode
    /** As in `UploadOptions`. */
    readonly lossesNeeded?: number | undefined
  },
  membership: Membership,
): Placement {
  const { root, sizeBytes, code } = object
  const lossesNeeded = object.lossesNeeded ?? lossesNeededOf(code)
  const homes = protectedHomes({ dataRoot: root, sizeBytes, code }, membership.members)
  const dataSlotCount = shardLayoutOf(sizeBytes, code)?.dataSlotCount ?? 1
  return { needed: dataSlotCount + lossesNeeded, slots: ordersOf(root, homes, membership) }
}

function ordersOf(root: Root, homes: readonly Home[], { members }: Membership): readonly SlotOrder[] {
  return homes.map(({ slot, member }) => ({
    slot,
    order: [member, ...placementOrder({ key: root, slot }, members).filter(({ id }) => id !== member.id)],
  }))
}

/** Everybody who may hold `root`, in the order in which to ask: homes first, then the order of the first slot. */
export function askingOrder(placement: Placement): readonly Member[] {
  const homes = placement.slots.map(({ order }) => order[0]!)
  const ids = new Set(homes.map(({ id }) => id))
  return [...homes, ...(placement.slots[0]?.order ?? []).filter(({ id }) => !ids.has(id))]
}

/** What the homes of an object say before anything is paid. */
export type Preflight = { readonly known: readonly HeldEntry[] }

/** Nodes are asked a few at once when homes do not answer. */
const ASK_WINDOW = 8

/** Asks the homes whether they are of our network and what they know of the roots, the first of which is that of the object. With
 *  `needs: 'holders'`, goes on until enough nodes are reachable: the others, then once more and with more patience those that did
 *  not answer in time. Throws `NODES_TOO_FEW` otherwise, and `NETWORK_MISMATCH` when that is why there are too few. */
export async function preflight(
  client: Client,
  what: {
    readonly roots: readonly [Root, ...Root[]]
    readonly placement: Placement
    readonly needs: 'holders' | 'nothing'
  },
  options: Abortable,
): Promise<Preflight> {
  const { roots, placement } = what
  const order = askingOrder(placement)
  const known: HeldEntry[] = []
  const failures = new Map<Member, unknown>()
  let reachableCount = 0
  const askFor =
    (timeoutMs: number) =>
    async (member: Member, outer: AbortSignal): Promise<void> => {
      let contact: Contact | undefined
      const { signal, end } = childScope(outer)
      try {
        contact = client.contacts.of(member.endpoint)
        const { node } = contact
        const [status, ...lists] = await Promise.all([
          contact.status({ signal, timeoutMs }),
          ...roots.map((root) => node.entries(root, { signal, timeoutMs })),
        ])
        const entries = lists.flat()
        known.push(...entries)
        if (status.readOnly && entries.length === 0)
          throw fail('NODE_REFUSED', { node: contact.url, reason: 'its store is read-only' })
        if (status.isFull && entries.length === 0) throw fail('NODE_FULL', { node: contact.url })
        reachableCount += 1
        failures.delete(member)
      } catch (error) {
        outer.throwIfAborted()
        contact?.failed(error)
        failures.set(member, error)
      } finally {
        end()
      }
    }
  const askAll = async (members: readonly Member[], timeoutMs: number): Promise<void> => {
    await mapBounded(members, { ...options, window: ASK_WINDOW }, askFor(timeoutMs))
  }
  const isEnough = (): boolean => what.needs === 'nothing' || reachableCount >= placement.needed

  await askAll(order.slice(0, placement.needed), ASK_TIMEOUT_MS)
  const stranger = mismatchIn(failures.values())
  if (reachableCount === 0 && stranger !== undefined) throw stranger
  for (let at = placement.needed; !isEnough() && at < order.length; at += ASK_WINDOW)
    await askAll(order.slice(at, at + ASK_WINDOW), ASK_TIMEOUT_MS)
  if (!isEnough()) {
    const late = order.filter((member) => isFailure(failures.get(member), 'DEADLINE_PASSED'))
    await askAll(late.slice(0, ASK_WINDOW), ASK_AGAIN_TIMEOUT_MS)
  }
  if (!isEnough()) throw tooFew(roots[0], placement, reachableCount, failures)
  return { known }
}

/** A node that hangs must not hold up an upload: others are there. */
const ASK_TIMEOUT_MS = 3_000
/** Where too few are left without it, a node on a busy machine is waited for: a laptop that does something else as well. */
const ASK_AGAIN_TIMEOUT_MS = 12_000

/** How many of the members answer; those that are late are waited for while fewer than `needed` do, as before an upload. */
export async function reachableCount(
  client: Pick<Client, 'contacts'>,
  { members, needed }: { readonly members: readonly Member[]; readonly needed: number },
  { signal }: Abortable,
): Promise<number> {
  let count = 0
  const askAll = async (some: readonly Member[], timeoutMs: number): Promise<readonly Member[]> => {
    const late: Member[] = []
    const ask = async (member: Member): Promise<void> => {
      try {
        await client.contacts.of(member.endpoint).status({ signal, timeoutMs })
        count += 1
      } catch (error) {
        signal?.throwIfAborted()
        if (isFailure(error, 'DEADLINE_PASSED')) late.push(member)
      }
    }
    await Promise.all(some.map(ask))
    return late
  }
  const late = await askAll(members, ASK_TIMEOUT_MS)
  if (count < needed) await askAll(late, ASK_AGAIN_TIMEOUT_MS)
  return count
}

function tooFew(root: Root, placement: Placement, reachable: number, failures: ReadonlyMap<Member, unknown>): Failure {
  const listed = Array.from(failures, ([{ endpoint: node }, error]): NodeFailure => ({ node, error }))
  return (
    mismatchIn(failures.values()) ??
    fail('NODES_TOO_FEW', { root, needed: placement.needed, reachable, failures: listFailures(listed) })
  )
}

function mismatchIn(errors: Iterable<unknown>): Failure | undefined {
  for (const error of errors) if (isFailure(error, 'NETWORK_MISMATCH')) return error
  return undefined
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
