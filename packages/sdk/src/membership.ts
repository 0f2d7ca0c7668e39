import {
  domainOf,
  equal,
  isFailure,
  membershipHash,
  type Abortable,
  type Address,
  type Clock,
  type Member,
  type Membership,
} from '@weightless/core'
import type { Contacts } from './contacts.ts'
import { fail } from './errors.ts'
import { mapBounded } from './inOrder.ts'
import { readDraining, readMembers, readMembershipHash, readVersion } from './registry.ts'
import type { Rpc } from './rpc.ts'
import { shared } from './scope.ts'

/** Who stores, cached: a registry's list is read again when its version rises. Throws `MEMBERS_NONE`. */
export type MembershipSource = {
  /** Whose members sign receipts; `undefined` for a fixed list, where each node names its own. */
  readonly registry: Address | undefined
  read(options: Abortable): Promise<Membership>
  /** Members that drain: they take no duty any more, and what they have may be nowhere else yet. */
  draining(options: Abortable): Promise<readonly Member[]>
  /** The members of an earlier version, where that is known without asking. */
  readonly at?: ((version: number) => Membership | undefined) | undefined
}

/** Membership is a preference, not a fact (DESIGN D7): a list that is this old still finds the objects. */
const FRESH_MS = 3_000
/** Who has left meanwhile does not answer; who has begun to drain has raised the version, unless it was stale before. */
const DRAINING_FRESH_MS = 30_000
const ASK_WINDOW = 16

/** The active members of a StorageRegistry. */
export function createRegistryMembership(
  registry: Address,
  deps: { readonly rpc: Rpc; readonly clock: Clock },
): MembershipSource {
  const { rpc, clock } = deps
  let cached: { readonly membership: Membership; readonly untilMs: number } | undefined
  /** The hash too: a network that was made anew may have come to the same version with other members. */
  async function isCurrent(known: Membership, signal: AbortSignal): Promise<boolean> {
    const [version, hash] = await Promise.all([
      readVersion(rpc, registry, { signal }),
      readMembershipHash(rpc, registry, { version: known.version }, { signal }),
    ])
    return version === known.version && equal(hash, membershipHash(known.members))
  }
  const refresh = shared(async (signal): Promise<Membership> => {
    const known = cached?.membership
    const isSame = known !== undefined && (await isCurrent(known, signal))
    const membership = isSame ? known : await readMembers(rpc, registry, { signal })
    cached = { membership, untilMs: clock.nowMs() + FRESH_MS }
    return membership
  })
  async function current(options: Abortable): Promise<Membership> {
    options.signal?.throwIfAborted()
    const isFresh = cached !== undefined && clock.nowMs() < cached.untilMs
    return isFresh ? cached!.membership : await refresh(options)
  }
  let drained: { readonly of: Membership; readonly members: readonly Member[]; readonly untilMs: number } | undefined
  const lookForDraining = shared(async (signal): Promise<readonly Member[]> => {
    const of = await current({ signal })
    if (drained?.of === of && clock.nowMs() < drained.untilMs) return drained.members
    const members = await readDraining(rpc, registry, { active: of.members }, { signal })
    drained = { of, members, untilMs: clock.nowMs() + DRAINING_FRESH_MS }
    return members
  })
  return {
    registry,
    read: async (options) => {
      const membership = await current(options)
      if (membership.members.length === 0) throw fail('MEMBERS_NONE', { registry })
      return membership
    },
    draining: lookForDraining,
  }
}

/** A fixed list of nodes: each says who signs for it. One that does not answer stays in the list as NOBODY's, so that a network
 *  with a node down does not look smaller than it is. */
export function createStaticMembership(
  endpoints: readonly string[],
  deps: { readonly contacts: Contacts },
): MembershipSource {
  return {
    registry: undefined,
    draining: async () => [],
    read: async ({ signal }) => {
      if (endpoints.length === 0) throw fail('MEMBERS_NONE')
      const members = await mapBounded(
        endpoints,
        { window: ASK_WINDOW, signal },
        async (endpoint, scope, id): Promise<Member> => {
          const contact = deps.contacts.of(endpoint)
          const base = { id, endpoint, domain: domainOf(endpoint), weight: 1n }
          if (contact.isAvoided()) return { ...base, signer: NOBODY }
          try {
            const { signer } = await contact.status({ signal: scope })
            return { ...base, signer }
          } catch (error) {
            scope.throwIfAborted()
            contact.failed(error)
            // Somebody typed this list: a node of another network in it is a mistake to be told, not a node to be skipped.
            if (isFailure(error, 'NETWORK_MISMATCH')) throw error
            return { ...base, signer: NOBODY }
          }
        },
      )
      return { version: 0, members }
    },
  }
}

/** No key has this address. */
export const NOBODY: Address = `0x${'0'.repeat(40)}` as Address
