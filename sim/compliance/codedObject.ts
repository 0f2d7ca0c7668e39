import {
  concat,
  encodeParityTags,
  fingerprintRootOf,
  fromHex,
  SEGMENT_SIZE_BYTES,
  segmentOfShard,
  shardCountOf,
  shardLayoutOf,
  shardsOfSlots,
  type ErasureCode,
  type FileTree,
  type Hex,
  type ProvenSegment,
  type ShardLayout,
} from '@weightless/core'
import { defaultErasureKernel, fingerprintPoint } from '@weightless/kernels'
import { objectOf, objectOfBytes, type TestObject } from './storageNode.ts'

/** An object with its parity, made by the kernels alone. */
export type CodedObject = {
  readonly layout: ShardLayout
  readonly data: TestObject
  /** Its submission carries the tags. */
  readonly parity: TestObject
  /** Which entry the shards of a slot are segments of, and those segments. */
  shardsOf(slot: number): { readonly of: 'data' | 'parity'; readonly segments: readonly ProvenSegment[] }
  /** Of the shards of these slots, in leaf order. */
  fingerprintsOf(slots: readonly number[]): Uint8Array
  fingerprintRootOf(slots: readonly number[]): Hex
  /** The same at the point of another object: what its holder would sign who has these bytes instead. */
  fingerprintsAt(other: CodedObject, slots: readonly number[]): Uint8Array
}

/** `spoilParity` changes the parity before its root is taken: bogus parity with honest tags. */
export function codedObjectOf(
  sizeBytes: number,
  seed: number,
  code: ErasureCode,
  spoilParity: (parity: Uint8Array) => void = () => undefined,
): CodedObject {
  const data = objectOf(sizeBytes, seed)
  const layout = shardLayoutOf(sizeBytes, code)!
  const parityBytes = new Uint8Array(layout.paritySizeBytes)
  for (let stripe = 0; stripe < layout.stripeCount; stripe++) {
    const parityAt = (j: number): number => (stripe * code.m + j) * SEGMENT_SIZE_BYTES
    defaultErasureKernel().encodeParity({
      code,
      data: Array.from({ length: code.k }, (_, i) => {
        const segment = data.segments[stripe * code.k + i]
        return segment && extended(segment.data)
      }),
      parity: Array.from({ length: code.m }, (_, j) => parityBytes.subarray(parityAt(j), parityAt(j + 1))),
    })
  }
  spoilParity(parityBytes)
  const parity = objectOfBytes(parityBytes, encodeParityTags({ code, dataRoot: data.tree.root, sizeBytes }))
  const pointOf = (dataTree: FileTree, parityTree: FileTree): Uint8Array =>
    fingerprintPoint(fromHex(dataTree.root), fromHex(parityTree.root))
  const shardsOf = (slot: number): ReturnType<CodedObject['shardsOf']> => {
    const places = Array.from({ length: shardCountOf(layout, slot) }, (_, stripe) =>
      segmentOfShard(layout, { stripe, slot })!,
    )
    const of = slot < code.k ? 'data' : 'parity'
    const { segments } = of === 'data' ? data : parity
    return { of, segments: places.map(({ segmentIndex }) => segments[segmentIndex]!) }
  }
  const fingerprintsBy = (point: Uint8Array, slots: readonly number[]): Uint8Array =>
    concat(
      [...shardsOfSlots(layout, slots)].map(({ slot, stripe }) =>
        defaultErasureKernel().fingerprint(point, shardsOf(slot).segments[stripe]!.data),
      ),
    )
  const fingerprintsOf: CodedObject['fingerprintsOf'] = (slots) =>
    fingerprintsBy(pointOf(data.tree, parity.tree), slots)
  return {
    layout,
    data,
    parity,
    shardsOf,
    fingerprintsOf,
    fingerprintRootOf: (slots) =>
      fingerprintRootOf({ layout, parityRoot: parity.tree.root, slots }, fingerprintsOf(slots)),
    fingerprintsAt: (other, slots) => fingerprintsBy(pointOf(other.data.tree, other.parity.tree), slots),
  }
}

function extended(segment: Uint8Array): Uint8Array {
  const shard = new Uint8Array(SEGMENT_SIZE_BYTES)
  shard.set(segment)
  return shard
}
