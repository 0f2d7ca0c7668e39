import { defaultErasureKernel, fingerprintPoint } from '@weightless/kernels'
import { expect, test } from 'vitest'
import { fileOf } from '../../../../sim/vectors/files.ts'
import vectors from '../../../../sim/vectors/shards.json' with { type: 'json' }
import { concat } from '../bytes.ts'
import { fromHex, parseRoot, toHex } from '../hex.ts'
import { SEGMENT_SIZE_BYTES } from '../limits.ts'
import { fingerprintRootOf, fingerprintsBySlot, shardsOfSlots } from './shardFingerprints.ts'
import { segmentOfShard, shardLayoutOf } from './shardLayout.ts'

const { sizeBytes, code, point, roots } = vectors.fingerprints
const parityRoot = parseRoot(vectors.fingerprints.parityRoot)
const layout = shardLayoutOf(sizeBytes, code)!
const all = roots.map(({ slots, shards, fingerprintRoot }) => ({
  slots,
  shards,
  fingerprintRoot,
  fingerprints: concat(shards.map(({ fingerprint }) => fromHex(fingerprint))),
}))

test('roots are those of the vectors: the shards by slot, then by stripe, and only those that exist', () => {
  expect(all.length).toBeGreaterThan(4)
  for (const { slots, shards, fingerprints, fingerprintRoot } of all) {
    const order = shards.map(({ slot, stripe }) => ({ stripe, slot }))
    expect([...shardsOfSlots(layout, slots)]).toEqual(order)
    expect(fingerprintRootOf({ layout, parityRoot, slots }, fingerprints)).toBe(fingerprintRoot)
    expect(fingerprintRootOf({ layout, parityRoot, slots: slots.toReversed() }, fingerprints)).toBe(fingerprintRoot)
  }
})

test('the fingerprints of the vectors are those of the kernel over the bytes of the object and its parity', () => {
  const kernel = defaultErasureKernel()
  const data = fileOf('xorshift32', sizeBytes)
  const parity = new Uint8Array(layout.paritySizeBytes)
  const segment = (of: Uint8Array, index: number) =>
    of.subarray(index * SEGMENT_SIZE_BYTES, (index + 1) * SEGMENT_SIZE_BYTES)
  for (let stripe = 0; stripe < layout.stripeCount; stripe++) {
    const shards = Array.from({ length: code.k }, (_, slot) => {
      const at = segmentOfShard(layout, { stripe, slot })
      if (at === undefined) return undefined
      const whole = new Uint8Array(SEGMENT_SIZE_BYTES)
      whole.set(segment(data, at.segmentIndex))
      return whole
    })
    const outputs = Array.from({ length: code.m }, (_, j) => segment(parity, stripe * code.m + j))
    kernel.encodeParity({ code, data: shards, parity: outputs })
  }
  const r = fingerprintPoint(fromHex(vectors.certificates[0]!.dataRoot), fromHex(parityRoot))
  expect(toHex(r)).toBe(point)
  for (const { slot, stripe, fingerprint } of all.at(-1)!.shards) {
    const { entry, segmentIndex } = segmentOfShard(layout, { slot, stripe })!
    const shard = segment(entry === 'data' ? data : parity, segmentIndex)
    expect(toHex(kernel.fingerprint(r, shard))).toBe(fingerprint)
  }
})

test('the root binds code, parity, slots and every fingerprint', () => {
  const { slots, fingerprints, fingerprintRoot } = all[0]!
  const others = [
    fingerprintRootOf({ layout, parityRoot: parseRoot(`0x${'01'.repeat(32)}`), slots }, fingerprints),
    fingerprintRootOf({ layout: { ...layout, code: { k: 4, m: 3 } }, parityRoot, slots }, fingerprints),
    fingerprintRootOf({ layout, parityRoot, slots: [4] }, fingerprints),
    ...Array.from({ length: fingerprints.length }, (_, at) => {
      const changed = fingerprints.slice()
      changed[at]! ^= 1
      return fingerprintRootOf({ layout, parityRoot, slots }, changed)
    }),
  ]
  for (const other of others) expect(other).not.toBe(fingerprintRoot)
})

test('fingerprints are told apart by slot', () => {
  const { shards, slots, fingerprints } = all.at(-1)!
  const bySlot = fingerprintsBySlot(layout, slots.toReversed(), fingerprints)
  expect([...bySlot.keys()]).toEqual(slots)
  for (const [slot, own] of bySlot) {
    const expected = shards.filter((shard) => shard.slot === slot).map(({ fingerprint }) => fromHex(fingerprint))
    expect(toHex(own)).toBe(toHex(concat(expected)))
  }
})

test('every shard has a fingerprint and there is nothing else', () => {
  const { fingerprints } = all[0]!
  const root = (slots: readonly number[], bytes: Uint8Array) => fingerprintRootOf({ layout, parityRoot, slots }, bytes)
  expect(() => root([0], fingerprints.subarray(1))).toThrow('a fingerprint for each shard')
  expect(() => root([], new Uint8Array(0))).toThrow('a fingerprint for each shard')
  expect(() => root([6], fingerprints)).toThrow('a fingerprint for each shard')
  expect(() => fingerprintsBySlot(layout, [0], concat([fingerprints, fingerprints]))).toThrow(
    'a fingerprint for each shard',
  )
})
