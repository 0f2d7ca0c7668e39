import { SEGMENT_SIZE_BYTES, shardLayoutOf, type ErasureCode, type Root } from '@weightless/core'
import { segmentRoot } from '@weightless/kernels'
import { expect, test } from 'vitest'
import { codedObjectOf } from '../../../sim/compliance/codedObject.ts'
import { BogusParity, createBearing } from './bearOut.ts'
import type { GatheredShards } from './gatherShards.ts'
import type { ShardHolders, Way } from './shardHolders.ts'

const code: ErasureCode = { k: 1, m: 2 }
const sizeBytes = 8 * SEGMENT_SIZE_BYTES
const { data } = codedObjectOf(sizeBytes, 1, code)
const rootOf = (index: number): Uint8Array => segmentRoot(data.segments[index]!.data, 1024)
const layout = shardLayoutOf(sizeBytes, code)!
const wayBy = (name: string): Way => {
  const parity = { seq: 1, root: `0x${'11'.repeat(32)}` as Root, layout, isProven: true, holders: new Map() }
  return { parity, name, isBogus: false }
}
const nothing: GatheredShards = { plans: [], runs: [], shard: () => expect.unreachable() }

/** Nobody has a data segment: each is computed, by a bogus parity into other bytes. */
function bearing() {
  return createBearing(
    { root: data.tree.root, sizeBytes },
    {
      holders: { fetchSlot: async () => undefined } as Partial<ShardHolders> as ShardHolders,
      gather: async ({ stripes }) => ({
        ...nothing,
        plans: stripes.map(({ stripe }) => ({ kind: 'read', stripe, direct: [], helpers: [1], rebuilt: [0] })),
      }),
      rebuild: async ({ name }, { plans }) =>
        new Map(
          plans.map(({ stripe }) => [stripe, name === 'right' ? rootOf(stripe) : new Uint8Array(32).fill(stripe)]),
        ),
    },
  )
}

test('what a bogus parity gave says nothing of the right one, by which another piece is read at the same time', async () => {
  const { bearOut, prove } = bearing()
  const signal = new AbortController().signal
  const [bogus, right] = [wayBy('bogus'), wayBy('right')]
  const pieces = await Promise.allSettled([
    bearOut({ way: bogus, gathered: nothing, rebuilt: new Map([[0, new Uint8Array(32)]]) }, [], { signal }),
    bearOut({ way: right, gathered: nothing, rebuilt: new Map([[5, rootOf(5)]]) }, [], { signal }),
  ])
  expect(pieces[0]).toMatchObject({ status: 'rejected', reason: { way: bogus } })
  expect((pieces[0] as PromiseRejectedResult).reason).toBeInstanceOf(BogusParity)
  expect(pieces[1]).toMatchObject({ status: 'fulfilled' })
  expect(prove(5)).toEqual(data.segments[5]!.proof)
})
