import { FINGERPRINT_SIZE_BYTES, keccak256, merkleRoot } from '@weightless/kernels'
import { concat } from '../bytes.ts'
import { invariant } from '../errors.ts'
import { fromHex, toHex, type Hex, type Root } from '../hex.ts'
import { HASH_SIZE_BYTES } from '../limits.ts'
import { shardCountOf, type Shard, type ShardLayout } from './shardLayout.ts'

/** What the receipt of a holder of shards says in `fingerprintRoot` (docs/erasure.md 7):
 *
 *      keccak256(parityRoot ‖ uint8 k ‖ uint8 m ‖ M)
 *      M = Merkle root over the leaves keccak256(uint8 slot ‖ uint32be stripe ‖ fingerprint), an odd node carried unchanged
 *
 *  `fingerprints` are those of `shardsOfSlots(layout, slots)` in that order, 16 bytes each. */
export function fingerprintRootOf(
  of: { readonly layout: ShardLayout; readonly parityRoot: Root; readonly slots: readonly number[] },
  fingerprints: Uint8Array,
): Hex {
  const { layout, slots } = of
  invariant(
    slots.length > 0 && fingerprints.length === fingerprintsSizeOf(layout, slots),
    'a fingerprint for each shard',
  )
  const leaves = new Uint8Array((fingerprints.length / FINGERPRINT_SIZE_BYTES) * HASH_SIZE_BYTES)
  const message = new Uint8Array(5 + FINGERPRINT_SIZE_BYTES)
  const view = new DataView(message.buffer)
  let at = 0
  for (const { slot, stripe } of shardsOfSlots(layout, slots)) {
    view.setUint8(0, slot)
    view.setUint32(1, stripe)
    message.set(fingerprints.subarray(at * FINGERPRINT_SIZE_BYTES, (at + 1) * FINGERPRINT_SIZE_BYTES), 5)
    leaves.set(keccak256(message), at * HASH_SIZE_BYTES)
    at++
  }
  const { k, m } = layout.code
  return toHex(keccak256(concat([fromHex(of.parityRoot), Uint8Array.of(k, m), merkleRoot(leaves)])))
}

/** The shards of present slots, ascending by slot, then by stripe. */
export function* shardsOfSlots(layout: ShardLayout, slots: readonly number[]): Generator<Shard> {
  for (const slot of [...slots].sort((a, b) => a - b)) {
    const count = shardCountOf(layout, slot)
    invariant(count > 0, 'the slot has shards')
    for (let stripe = 0; stripe < count; stripe++) yield { stripe, slot }
  }
}

/** Bytes of the fingerprints of these slots. */
export function fingerprintsSizeOf(layout: ShardLayout, slots: readonly number[]): number {
  return slots.reduce((sum, slot) => sum + shardCountOf(layout, slot), 0) * FINGERPRINT_SIZE_BYTES
}

/** The fingerprints of each slot, in the order of its stripes; views. */
export function fingerprintsBySlot(
  layout: ShardLayout,
  slots: readonly number[],
  fingerprints: Uint8Array,
): ReadonlyMap<number, Uint8Array> {
  const bySlot = new Map<number, Uint8Array>()
  let from = 0
  for (const slot of [...slots].sort((a, b) => a - b)) {
    const to = from + fingerprintsSizeOf(layout, [slot])
    bySlot.set(slot, fingerprints.subarray(from, to))
    from = to
  }
  invariant(from === fingerprints.length, 'a fingerprint for each shard')
  return bySlot
}
