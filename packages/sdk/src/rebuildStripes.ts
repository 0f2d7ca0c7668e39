import {
  extendedShard,
  leafCountOf,
  SEGMENT_CHUNKS,
  segmentDataSize,
  segmentOfShard,
  shardCountOf,
  type Abortable,
  type Layout,
  type Kernels,
  type ShardLayout,
} from '@weightless/core'
import type { GatheredShards } from './gatherShards.ts'

/** Computes the data segments that no holder gave, each into its place, zero-extended. Returns their roots by index, which nobody has
 *  borne out yet. */
export async function rebuildStripes(
  { plans, shard }: GatheredShards,
  into: {
    readonly shards: ShardLayout
    readonly data: Layout
    readonly placeOf: (segmentIndex: number) => Uint8Array
  },
  kernels: Pick<Kernels, 'recover' | 'segmentRoots'>,
  { signal }: Abortable,
): Promise<ReadonlyMap<number, Uint8Array>> {
  const { code } = into.shards
  const roots = new Map<number, Uint8Array>()
  for (const { stripe, direct, helpers, rebuilt } of plans) {
    if (rebuilt.length === 0) continue
    const used = new Set([...direct, ...helpers])
    const shards = Array.from({ length: code.k + code.m }, (_, slot) => {
      if (stripe >= shardCountOf(into.shards, slot)) return 'zero' as const
      return used.has(slot) ? extendedShard(shard(stripe, slot).data) : undefined
    })
    const wanted = rebuilt.map((slot) => {
      const { segmentIndex } = segmentOfShard(into.shards, { stripe, slot })!
      return { slot, segmentIndex, into: into.placeOf(segmentIndex) }
    })
    await kernels.recover({ code, shards, wanted }, { signal })
    for (const { segmentIndex, into: computed } of wanted) {
      const isLast = segmentIndex === into.data.segmentCount - 1
      const lastLeafCount = isLast ? leafCountOf(into.data, segmentIndex) : SEGMENT_CHUNKS
      // A copy where a pool may take the memory away: the piece goes on to the reader.
      const data = computed.subarray(0, segmentDataSize(into.data, segmentIndex))
      const own = data.buffer instanceof ArrayBuffer ? data.slice() : data
      roots.set(segmentIndex, await kernels.segmentRoots(own, { lastLeafCount, signal }))
    }
  }
  return roots
}
