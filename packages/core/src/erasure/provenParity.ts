import { defaultErasureKernel, FINGERPRINT_SIZE_BYTES } from '@weightless/kernels'
import { equal } from '../bytes.ts'
import { fingerprintsBySlot } from './shardFingerprints.ts'
import type { ShardLayout } from './shardLayout.ts'

/** What one holder says that it has: slots, and the fingerprints of their shards by slot, then by stripe. */
export type ShardClaim = { readonly slots: readonly number[]; readonly fingerprints: Uint8Array }

/** Which claims hold together (DESIGN D6, docs/erasure.md 8). A claim of parity slot j is proven when in every stripe the
 *  fingerprints of all data slots and its own satisfy equation j of the code. All data slots, because parity of other data may
 *  agree with any fewer: then nothing is proven. Claims of one data slot must agree, or none of them counts; whoever has the data
 *  passes the fingerprints in `known`, by slot, and believes no claim about them. */
export function proveParity(
  layout: ShardLayout,
  claims: readonly ShardClaim[],
  known: ReadonlyMap<number, Uint8Array> = new Map(),
): ParityProof {
  const { k } = layout.code
  const claimed = claims.map(({ slots, fingerprints }) => fingerprintsBySlot(layout, slots, fingerprints))
  const { agreed, disputed } = agreeOnData(layout, claimed, known)
  const expected = agreed.size === layout.dataSlotCount ? parityOf(layout, agreed) : undefined
  const counts = (slot: number, fingerprints: Uint8Array): boolean => {
    const right = slot < k ? agreed.get(slot) : expected?.[slot - k]
    return right !== undefined && equal(right, fingerprints)
  }
  const counted = claimed.map((bySlot) => [...bySlot].flatMap(([slot, own]) => (counts(slot, own) ? [slot] : [])))
  const proven = new Set(counted.flat().filter((slot) => slot >= k))
  const unproven = new Set(claims.flatMap(({ slots }) => slots.filter((slot) => slot >= k && !proven.has(slot))))
  return { counted, proven: ascending(proven), unproven: ascending(unproven), disputed: ascending(disputed) }
}

export type ParityProof = {
  /** For each claim its slots that count: data that nobody disputes, parity that is proven. Ascending. */
  readonly counted: readonly (readonly number[])[]
  /** Parity slots that a claim proved. */
  readonly proven: readonly number[]
  /** Parity slots that were claimed and that no claim proved. */
  readonly unproven: readonly number[]
  /** Data slots about which claims differ, from one another or from what is known. */
  readonly disputed: readonly number[]
}

function agreeOnData(
  { code, dataSlotCount }: ShardLayout,
  claimed: readonly ReadonlyMap<number, Uint8Array>[],
  known: ReadonlyMap<number, Uint8Array>,
): { readonly agreed: ReadonlyMap<number, Uint8Array>; readonly disputed: ReadonlySet<number> } {
  const agreed = new Map([...known].filter(([slot]) => slot < dataSlotCount))
  const disputed = new Set<number>()
  for (const bySlot of claimed) {
    for (const [slot, own] of bySlot) {
      if (slot >= code.k) continue
      const first = agreed.get(slot)
      if (first === undefined) agreed.set(slot, own)
      else if (!equal(first, own)) disputed.add(slot)
    }
  }
  for (const slot of disputed) if (!known.has(slot)) agreed.delete(slot)
  return { agreed, disputed }
}

/** The fingerprints that the parity slots have if the data slots have theirs. The equations are linear byte by byte and the same
 *  in every stripe, so those of all stripes are one row. */
function parityOf(layout: ShardLayout, data: ReadonlyMap<number, Uint8Array>): readonly Uint8Array[] {
  const { code, stripeCount } = layout
  const newRow = (): Uint8Array => new Uint8Array(stripeCount * FINGERPRINT_SIZE_BYTES)
  const rows = Array.from({ length: code.k }, (_, slot) => {
    const own = data.get(slot)
    if (own === undefined) return undefined
    const row = newRow()
    row.set(own)
    return row
  })
  const parity = Array.from({ length: code.m }, newRow)
  defaultErasureKernel().encodeParity({ code, data: rows, parity })
  return parity
}

function ascending(slots: ReadonlySet<number>): readonly number[] {
  return [...slots].sort((a, b) => a - b)
}
