import type { Address, Index, Member, Membership } from '@weightless/core'
import { numberRange } from './keys.ts'

/** One MemberChanged event of the registry, as the follower keeps it. */
export type MemberChange = {
  readonly version: number
  readonly blockNumber: number
  readonly id: number
  readonly signer: Address
  /** `undefined`: the member is not in the active set after this change. */
  readonly member: Member | undefined
  /** What it was, of one that drains: it takes no duty any more, and still serves what it has. */
  readonly draining?: Member | undefined
}

/** The active set over time: a fold over the registry's events, or one fixed list. */
export type MembershipView = {
  current(): Membership
  /** `undefined` when this version is not known here. */
  at(version: number): Membership | undefined
  /** The version that was in force at the end of this block. */
  versionAtBlock(blockNumber: number): number
  /** The first version since which the member with this signer has been active without interruption; `undefined` when it is not. */
  activeSince(signer: string): number | undefined
  /** Those that drained last, newest first: they may have what nobody else has yet. Who has left for good since then, only his silence
   *  tells. */
  draining(): readonly Member[]
}

export type MembershipLog = MembershipView & {
  append(changes: readonly MemberChange[]): void
  /** Takes back what happened in blocks above this one; whether there was anything. */
  rollBack(blockNumber: number): boolean
  changes(): readonly MemberChange[]
  /** What `append` would make of it. */
  after(changes: readonly MemberChange[]): Membership
}

/** Names the registry where there is none. */
export const NO_REGISTRY: Address = `0x${'00'.repeat(20)}` as Address

/** Asked beside the members, so few of them: the registry does not say in its events when one of them has gone. */
export const DRAINING_MAX = 8

/** Membership that never changes: the source `static`, and `solo` with no members at all. */
export function fixedMembership(members: readonly Member[]): MembershipView {
  const membership: Membership = { version: 0, members: [...members].sort((a, b) => a.id - b.id) }
  return {
    current: () => membership,
    at: (version) => (version === 0 ? membership : undefined),
    versionAtBlock: () => 0,
    activeSince: (signer) => (members.some((member) => member.signer === signer) ? 0 : undefined),
    draining: () => [],
  }
}

export function createMembershipLog(changes: readonly MemberChange[]): MembershipLog {
  const history: MemberChange[] = []
  const active = new Map<number, Member>()
  const since = new Map<string, number>()
  /** Oldest first. */
  const draining = new Map<number, Member>()
  let current: Membership = { version: 0, members: [] }

  const append = (more: readonly MemberChange[]): void => {
    for (const change of more) {
      history.push(change)
      const before = active.get(change.id)
      if (before !== undefined && before.signer !== change.member?.signer) since.delete(before.signer)
      apply(active, change)
      noteDraining(draining, change)
      if (change.member !== undefined && !since.has(change.member.signer))
        since.set(change.member.signer, change.version)
    }
    current = { version: history.at(-1)?.version ?? 0, members: listed(active) }
  }
  append(changes)

  return {
    append,
    changes: () => history,
    rollBack(blockNumber) {
      const kept = history.filter((change) => change.blockNumber <= blockNumber)
      if (kept.length === history.length) return false
      history.length = 0
      active.clear()
      since.clear()
      draining.clear()
      append(kept)
      return true
    },
    after(more) {
      const members = new Map(active)
      for (const change of more) apply(members, change)
      return { version: more.at(-1)?.version ?? current.version, members: listed(members) }
    },
    current: () => current,
    at(version) {
      if (version === current.version) return current
      if (version < 0 || version > current.version) return undefined
      const members = new Map<number, Member>()
      for (const change of history) {
        if (change.version > version) break
        apply(members, change)
      }
      return { version, members: listed(members) }
    },
    versionAtBlock(blockNumber) {
      let [low, high] = [0, history.length]
      while (low < high) {
        const middle = (low + high) >> 1
        if (history[middle]!.blockNumber <= blockNumber) low = middle + 1
        else high = middle
      }
      return history[low - 1]?.version ?? 0
    },
    activeSince: (signer) => since.get(signer),
    draining: () => [...draining.values()].reverse(),
  }
}

function apply(members: Map<number, Member>, change: MemberChange): void {
  if (change.member === undefined) members.delete(change.id)
  else members.set(change.id, change.member)
}

/** Who comes back under the same key or at the same address drains no more. */
function noteDraining(draining: Map<number, Member>, change: MemberChange): void {
  const { id, member } = change
  draining.delete(id)
  if (member !== undefined)
    for (const [other, { signer, endpoint }] of draining)
      if (signer === member.signer || endpoint === member.endpoint) draining.delete(other)
  if (change.draining === undefined) return
  draining.set(id, change.draining)
  if (draining.size > DRAINING_MAX) draining.delete(draining.keys().next().value!)
}

/** In ascending order of id, the order of the registry's hash (docs/decisions/0005). */
function listed(members: ReadonlyMap<number, Member>): readonly Member[] {
  return [...members.values()].sort((a, b) => a.id - b.id)
}

export function encodeMemberChange(change: MemberChange): Uint8Array {
  const { member, draining, ...rest } = change
  return new TextEncoder().encode(
    JSON.stringify({ ...rest, member: member && textOf(member), draining: draining && textOf(draining) }),
  )
}

type StoredMember = Omit<Member, 'weight'> & { readonly weight: string }

function textOf(member: Member): StoredMember {
  return { ...member, weight: member.weight.toString() }
}

function memberOfText(stored: StoredMember | undefined): Member | undefined {
  return stored && { ...stored, weight: BigInt(stored.weight) }
}

export function readMemberChanges(index: Index): readonly MemberChange[] {
  const rows = index.range(numberRange('member', 0, Number.MAX_SAFE_INTEGER))
  return [...rows].map(({ value }) => {
    const stored = JSON.parse(new TextDecoder().decode(value)) as Omit<MemberChange, 'member' | 'draining'> & {
      readonly member?: StoredMember
      /** Absent in rows from before it was kept. */
      readonly draining?: StoredMember
    }
    return { ...stored, member: memberOfText(stored.member), draining: memberOfText(stored.draining) }
  })
}
