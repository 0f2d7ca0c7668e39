import { keccak256 } from '@weightless/kernels'
import { invariant } from '../errors.ts'
import { fromHex, type Hex } from '../hex.ts'
import { HASH_SIZE_BYTES, SLOT_COUNT_MAX } from '../limits.ts'
import type { Member } from '../types.ts'

/** Weighted rendezvous hashing (DESIGN D7): who should hold slot `slot` of `key`, as a preference and not as a fact.
 *
 *  The score of (key, slot, member) in whole numbers, the same in every language:
 *
 *      digest = keccak256(key ‖ uint32be(member.id) ‖ uint32be(floor(slot / 4)))      key: 32 bytes
 *      x      = big-endian 64-bit number at byte 8·(slot mod 4) of digest; 1 instead of 0
 *      n      = floor(log2 x)                                                         0 … 63
 *      m      = floor(x·2^31 / 2^n)                                                   2^31 … 2^32 − 1
 *      frac   = 0; 32 times: m = floor(m·m / 2^31); frac = 2·frac;
 *               if m ≥ 2^32: m = floor(m / 2), frac = frac + 1
 *      L      = 2^38 − (n·2^32 + frac)                        −log2(x / 2^64) with 32 fraction bits, 1 … 2^38
 *      score  = floor(weight·2^96 / L)
 *
 *  −log2 of a uniform number is exponentially distributed, so the member with the highest score wins with probability
 *  weight / sum of weights. Members of weight 0 hold nothing. Equal scores: the lower slot, then the lower id, comes first.
 *
 *  Returns the members in the order in which a writer or reader of that slot tries them. */
export function placementOrder(
  at: { readonly key: Uint8Array | Hex; readonly slot: number },
  members: readonly Member[],
): readonly Member[] {
  invariant(Number.isInteger(at.slot) && at.slot >= 0 && at.slot < SLOT_COUNT_MAX, 'a slot is a number below 256')
  return rank(at.key, [at.slot], members).map((pair) => pair.member)
}

/** Homes for slots 0 … slotCount − 1: (slot, member) pairs by falling score, skipping used slots, used members, and domains that
 *  hold `domainMax` already. Of all greedy rules this one moves least under churn (DESIGN D7). Fewer homes when the network is
 *  smaller. In slot order. */
export function placeHomes(
  options: { readonly key: Uint8Array | Hex; readonly slotCount: number; readonly domainMax?: number | undefined },
  members: readonly Member[],
): readonly Home[] {
  const { key, slotCount, domainMax = Infinity } = options
  return taken(rank(key, ranksBelow(slotCount), members), { slotCount, domainMax })
}

/** Homes for these slots like `placeHomes`; where the domains are too few, slots that would stay without a home are placed without
 *  regard to them. */
export function spreadSlots(
  options: { readonly key: Uint8Array | Hex; readonly slots: readonly number[]; readonly domainMax: number },
  members: readonly Member[],
): readonly Home[] {
  const { key, slots, domainMax } = options
  const pairs = rank(key, slots, members)
  const homes = taken(pairs, { slotCount: slots.length, domainMax })
  return homes.length === slots.length ? homes : taken(pairs, { slotCount: slots.length, domainMax: Infinity }, homes)
}

/** Homes for `count` whole copies of an entry: key = data root. They are not all in one failure domain where there are two. */
export function copyHomes(
  { key, count }: { readonly key: Uint8Array | Hex; readonly count: number },
  members: readonly Member[],
): readonly Home[] {
  return spreadSlots({ key, slots: ranksBelow(count), domainMax: Math.max(1, count - 1) }, members)
}

function ranksBelow(count: number): readonly number[] {
  invariant(Number.isInteger(count) && count >= 0 && count <= SLOT_COUNT_MAX, 'at most 256 slots')
  return Array.from({ length: count }, (_, slot) => slot)
}

/** `before` and what the best of the other pairs adds to it. In slot order. */
function taken(
  pairs: readonly Pair[],
  { slotCount, domainMax }: { readonly slotCount: number; readonly domainMax: number },
  before: readonly Home[] = [],
): readonly Home[] {
  const homes = [...before]
  const usedSlots = new Set(before.map(({ slot }) => slot))
  const usedIds = new Set(before.map(({ member }) => member.id))
  const domainCounts = new Map<string, number>()
  for (const { slot, member } of pairs) {
    const domainCount = domainCounts.get(member.domain) ?? 0
    if (usedSlots.has(slot) || usedIds.has(member.id) || domainCount >= domainMax) continue
    usedSlots.add(slot)
    usedIds.add(member.id)
    domainCounts.set(member.domain, domainCount + 1)
    homes.push({ slot, member })
    if (homes.length === slotCount) break
  }
  return homes.sort((a, b) => a.slot - b.slot)
}

export type Home = { readonly slot: number; readonly member: Member }

type Pair = { readonly slot: number; readonly member: Member; readonly score: bigint }

/** One digest gives four slots, so three copies cost one hash per member. */
const SLOTS_PER_DIGEST = 4

function rank(key: Uint8Array | Hex, slots: readonly number[], members: readonly Member[]): Pair[] {
  const keyBytes = typeof key === 'string' ? fromHex(key) : key
  invariant(keyBytes.length === HASH_SIZE_BYTES, 'a placement key has 32 bytes')
  const message = new Uint8Array(HASH_SIZE_BYTES + 8)
  const view = new DataView(message.buffer)
  message.set(keyBytes)
  const pairs: Pair[] = []
  for (const member of members) {
    if (member.weight <= 0n) continue
    view.setUint32(HASH_SIZE_BYTES, member.id)
    let digest: DataView | undefined
    let digestGroup = -1
    for (const slot of slots) {
      const group = Math.floor(slot / SLOTS_PER_DIGEST)
      if (group !== digestGroup || digest === undefined) {
        view.setUint32(HASH_SIZE_BYTES + 4, group)
        const bytes = keccak256(message)
        digest = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
        digestGroup = group
      }
      const byte = 8 * (slot % SLOTS_PER_DIGEST)
      const cost = negativeLog2(digest.getUint32(byte), digest.getUint32(byte + 4))
      pairs.push({ slot, member, score: (member.weight << 96n) / BigInt(cost) })
    }
  }
  return pairs.sort(byFallingScore)
}

function byFallingScore(a: Pair, b: Pair): number {
  if (a.score !== b.score) return a.score > b.score ? -1 : 1
  return a.slot - b.slot || a.member.id - b.member.id
}

/** −log2(x / 2^64) in units of 2^−32, x = high·2^32 + low. Only +, −, ×, floor and exact scaling of integers below 2^53. */
export function negativeLog2(high: number, low: number): number {
  let exponent: number
  let mantissa: number
  if (high > 0) {
    const shift = Math.clz32(high)
    exponent = 63 - shift
    // The 32 highest bits of x from its leading one on; `low >>> 32` would be `low >>> 0`, so shift 0 stands apart.
    mantissa = shift === 0 ? high : ((high << shift) | (low >>> (32 - shift))) >>> 0
  } else {
    const x = low === 0 ? 1 : low
    const shift = Math.clz32(x)
    exponent = 31 - shift
    mantissa = (x << shift) >>> 0
  }
  let fraction = 0
  for (let bit = 0; bit < 32; bit++) {
    // floor(m² / 2^31) in 16-bit halves: m² = a²·2^32 + (2ab·2^16 + b²), and the bracket is below 2^50.
    const a = mantissa >>> 16
    const b = mantissa & 0xffff
    mantissa = 2 * a * a + Math.floor((131_072 * a * b + b * b) / 2_147_483_648)
    fraction *= 2
    if (mantissa >= 4_294_967_296) {
      mantissa = Math.floor(mantissa / 2)
      fraction += 1
    }
  }
  return 274_877_906_944 - (exponent * 4_294_967_296 + fraction)
}
