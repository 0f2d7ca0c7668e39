import { invariant } from '../errors.ts'
import { presentSlots, shardCountOf, type ShardLayout } from './shardLayout.ts'

/** The stripes that hold the data segments from ≤ index < to, and which of their slots those are. Ascending. */
export function* stripesOfSegments(
  { code: { k }, segmentCount }: ShardLayout,
  { from, to }: { readonly from: number; readonly to: number },
): Generator<WantedStripe> {
  invariant(Number.isInteger(from) && Number.isInteger(to) && from >= 0 && to <= segmentCount, 'segments of the object')
  if (from >= to) return
  for (let stripe = Math.floor(from / k); stripe * k < to; stripe++) {
    const first = Math.max(0, from - stripe * k)
    const end = Math.min(k, to - stripe * k)
    yield { stripe, slots: Array.from({ length: end - first }, (_, i) => first + i) }
  }
}

/** Consecutive stripes, from … from + count − 1. */
export type StripeRun = { readonly from: number; readonly count: number }

/** Ascending stripes as runs of neighbours, of at most `countMax` each: what one request can name. */
export function stripeRuns(
  stripes: readonly number[],
  { countMax }: { readonly countMax: number },
): readonly StripeRun[] {
  const runs: { from: number; count: number }[] = []
  for (const stripe of stripes) {
    const last = runs[runs.length - 1]
    if (last !== undefined && last.from + last.count === stripe && last.count < countMax) last.count += 1
    else runs.push({ from: stripe, count: 1 })
  }
  return runs
}

/** Shards of a stripe that somebody wants, data or parity. */
export type WantedStripe = { readonly stripe: number; readonly slots: readonly number[] }

/** How to get the wanted shards of one stripe: each as it is where its slot can be had, the others from any k of the stripe, of
 *  which those that are absent are zero and cost nothing. `preferred` are the slots that can be had, the best first (parity among
 *  them only if it is proven); `avoided` those that are taken when the preferred ones do not suffice, as few as possible. */
export function planStripe(
  layout: ShardLayout,
  wanted: WantedStripe,
  have: { readonly preferred: readonly number[]; readonly avoided: readonly number[] },
): StripePlan {
  const { code } = layout
  const isPresent = (slot: number): boolean => shardCountOf(layout, slot) > wanted.stripe
  invariant(wanted.slots.every(isPresent), 'what is wanted exists')
  const zeroCount = Array.from({ length: code.k }, (_, slot) => slot).filter((slot) => !isPresent(slot)).length
  const needed = code.k - zeroCount
  const preferred = distinct(have.preferred.filter(isPresent))
  const avoided = distinct(have.avoided.filter(isPresent)).filter((slot) => !preferred.includes(slot))
  const isWanted = (slot: number): boolean => wanted.slots.includes(slot)
  // What is wanted for itself comes first among the avoided ones: it serves twice.
  const lastResort = [...avoided.filter(isWanted), ...avoided.filter((slot) => !isWanted(slot))]
  for (let used = 0; used <= lastResort.length; used++) {
    const usable = [...preferred, ...lastResort.slice(0, used)]
    const direct = wanted.slots.filter((slot) => usable.includes(slot))
    const rebuilt = wanted.slots.filter((slot) => !usable.includes(slot))
    if (rebuilt.length === 0) return { kind: 'read', stripe: wanted.stripe, direct, rebuilt, helpers: [] }
    const others = usable.filter((slot) => !direct.includes(slot))
    if (direct.length + others.length >= needed)
      return { kind: 'read', stripe: wanted.stripe, direct, rebuilt, helpers: others.slice(0, needed - direct.length) }
  }
  const known = new Set([...preferred, ...avoided])
  return {
    kind: 'lost',
    stripe: wanted.stripe,
    missing: wanted.slots.filter((slot) => !known.has(slot)),
    shortBy: needed - known.size,
    wouldHelp: presentSlots(layout).filter((slot) => isPresent(slot) && !known.has(slot)),
  }
}

export type StripePlan =
  | {
      readonly kind: 'read'
      readonly stripe: number
      /** Wanted slots to fetch. */
      readonly direct: readonly number[]
      /** Wanted slots to compute from `direct`, `helpers` and the zeros, k together. */
      readonly rebuilt: readonly number[]
      /** Other slots to fetch for that; none when nothing is computed. */
      readonly helpers: readonly number[]
    }
  | {
      readonly kind: 'lost'
      readonly stripe: number
      /** Wanted slots that cannot be had. */
      readonly missing: readonly number[]
      /** So many shards more would do … */
      readonly shortBy: number
      /** … of these slots. */
      readonly wouldHelp: readonly number[]
    }

function distinct(slots: readonly number[]): readonly number[] {
  return [...new Set(slots)]
}
