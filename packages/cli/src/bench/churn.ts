import { domainOf, copyHomes, placementOrder, protectedHomes, SEGMENT_SIZE_BYTES, toHex } from '@weightless/core'
import type { Address, ErasureCode, Member } from '@weightless/core'
import { keccak256 } from '@weightless/kernels'
import type { Scenario } from './scenario.ts'

/** How objects are kept: so many copies, or shards under a code. */
export type Policy = { readonly copies: number } | ErasureCode
/** What happens to a network of members. */
export type ChurnEvent = 'join' | 'leave' | 'join of a large one' | 'weight doubled' | 'weight halved' | 'domain gone'
export type Placing = 'ours' | 'slot after slot'

export type Churn = {
  readonly policy: Policy
  readonly event: ChurnEvent
  readonly memberCount: number
  readonly domainCount: number
  readonly objectCount: number
  readonly placing: Placing
}
/** Shards or copies, all of one size. */
export type Moved = {
  readonly stored: number
  /** Those whose holder after the event did not have them before. */
  readonly moved: number
  /** What any placement would have to move that gives each member as much as it has afterwards. */
  readonly ideal: number
}

/** Weights one to four, so that members differ as real ones do. */
const WEIGHT = 1_000n
const WEIGHT_STEPS = 4

/** What an event moves: placement before and after it, compared object by object. A computation on names alone. */
export function measureChurn(churn: Churn): Moved {
  const before = membersOf(churn)
  const after = applied(churn.event, before, churn)
  const loads = new Map<number, number>()
  let [stored, moved] = [0, 0]
  for (let number = 0; number < churn.objectCount; number++) {
    const key = toHex(keccak256(new TextEncoder().encode(`object ${number}`)))
    const had = holdings(key, before, churn)
    const has = holdings(key, after, churn)
    const known = new Set(had.map(({ name }) => name))
    stored += has.length
    moved += has.filter(({ name }) => !known.has(name)).length
    for (const { id } of had) loads.set(id, (loads.get(id) ?? 0) - 1)
    for (const { id } of has) loads.set(id, (loads.get(id) ?? 0) + 1)
  }
  const ideal = [...loads.values()].reduce((sum, change) => sum + Math.max(0, change), 0)
  return { stored, moved, ideal }
}

function membersOf({ memberCount, domainCount }: Churn): readonly Member[] {
  return Array.from({ length: memberCount }, (_, i) =>
    memberWith(i + 1, WEIGHT * BigInt(1 + (i % WEIGHT_STEPS)), i % domainCount),
  )
}

function memberWith(id: number, weight: bigint, domain: number): Member {
  return { id, weight, domain: domainOf(`domain ${domain}`), signer: `0x${'00'.repeat(20)}` as Address, endpoint: '' }
}

function applied(event: ChurnEvent, members: readonly Member[], { domainCount }: Churn): readonly Member[] {
  const [chosen] = members.slice(members.length >> 1)
  const weighted = (weight: bigint): readonly Member[] =>
    members.map((member) => (member === chosen ? { ...member, weight } : member))
  switch (event) {
    case 'join':
      return [...members, memberWith(members.length + 1, 2n * WEIGHT, members.length % domainCount)]
    case 'join of a large one':
      return [...members, memberWith(members.length + 1, 8n * WEIGHT, members.length % domainCount)]
    case 'leave':
      return members.filter((member) => member !== chosen)
    case 'weight doubled':
      return weighted(2n * chosen!.weight)
    case 'weight halved':
      return weighted(chosen!.weight / 2n)
    case 'domain gone':
      return members.filter(({ domain }) => domain !== chosen!.domain)
  }
}

/** Who holds what of an object. Copies are alike, whatever their rank; shards are not. */
function holdings(
  key: ReturnType<typeof toHex>,
  members: readonly Member[],
  { policy, placing }: Churn,
): readonly { readonly id: number; readonly name: string }[] {
  const isCopies = 'copies' in policy
  const slotCount = isCopies ? policy.copies : policy.k + policy.m
  const homes =
    placing === 'slot after slot'
      ? slotAfterSlot(key, slotCount, members)
      : isCopies
        ? copyHomes({ key, count: slotCount }, members)
        : protectedHomes({ dataRoot: key, sizeBytes: policy.k * SEGMENT_SIZE_BYTES, code: policy }, members)
  return homes.map(({ slot, member: { id } }) => ({ id, name: isCopies ? `${id}` : `${slot}:${id}` }))
}

/** What one would write first: each slot in turn takes the best member that is not taken yet. */
function slotAfterSlot(
  key: ReturnType<typeof toHex>,
  slotCount: number,
  members: readonly Member[],
): readonly { readonly slot: number; readonly member: Member }[] {
  const used = new Set<number>()
  return Array.from({ length: slotCount }, (_, slot) => {
    const member = placementOrder({ key, slot }, members).find(({ id }) => !used.has(id))!
    used.add(member.id)
    return { slot, member }
  })
}

const POLICIES: readonly Policy[] = [{ copies: 3 }, { k: 4, m: 2 }, { k: 10, m: 4 }]
const EVENTS: readonly ChurnEvent[] = [
  'join',
  'join of a large one',
  'leave',
  'weight doubled',
  'weight halved',
  'domain gone',
]
/** Members, and the domains that they are spread over. */
const NETWORKS = [
  { memberCount: 20, domainCount: 20 },
  { memberCount: 20, domainCount: 5 },
  { memberCount: 60, domainCount: 60 },
] as const
const OBJECTS = 1_000
const OBJECTS_QUICK = 100

export const churn: Scenario = {
  name: 'churn',
  about: 'bytes that a change of the membership moves, against the least that it could',
  async run({ quick, note, signal }) {
    const objectCount = quick ? OBJECTS_QUICK : OBJECTS
    const rows: (string | number)[][] = []
    let [least, most] = [Infinity, 0]
    for (const policy of POLICIES) {
      for (const network of NETWORKS) {
        for (const event of EVENTS) {
          signal.throwIfAborted()
          const at = { policy, event, objectCount, ...network }
          const ours = measureChurn({ ...at, placing: 'ours' })
          const naive = measureChurn({ ...at, placing: 'slot after slot' })
          const ratio = ours.moved / ours.ideal
          least = Math.min(least, ratio)
          most = Math.max(most, ratio)
          rows.push([
            nameOf(policy),
            `${network.memberCount} in ${network.domainCount}`,
            event,
            percent(ours.ideal / ours.stored),
            percent(ours.moved / ours.stored),
            ratio.toFixed(2),
            (naive.moved / naive.ideal).toFixed(2),
          ])
        }
        note(`${nameOf(policy)} over ${network.memberCount}`)
      }
    }
    return {
      columns: ['kept by', 'members in domains', 'event', 'least', 'moved', 'moved / least', 'slot after slot'],
      rows,
      notes: [
        `moved / least: ${least.toFixed(2)} to ${most.toFixed(2)}; DESIGN D7 measured 1.05 to 1.44`,
        `${objectCount} objects of one stripe, weights 1 to 4; percentages are of all bytes stored after the event; a join has weight 2, a large one 8`,
        '"least" is the sum of what each member has gained: no placement with the same loads moves less',
        '"slot after slot": each slot in turn takes the best member not yet taken, without regard to domains',
        'a computation on placement alone: the same numbers on every machine',
      ],
    }
  },
}

function nameOf(policy: Policy): string {
  return 'copies' in policy ? `${policy.copies} copies` : `${policy.k}+${policy.m}`
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`
}
