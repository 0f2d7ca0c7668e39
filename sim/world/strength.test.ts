import { shardLayoutOf, type ErasureCode, type Root, type TxHash } from '@weightless/core'
import type { HeldEntry } from '@weightless/sdk'
import { describe, expect, test } from 'vitest'
import { unnamedSlots, whatHomeHas } from './strength.ts'

const SIZE_BYTES = 1024 ** 2
const CODE = { k: 2, m: 2 }
const DATA = `0x${'da'.repeat(32)}` as Root
const PARITY = `0x${'9a'.repeat(32)}` as Root
const BOGUS = `0x${'b0'.repeat(32)}` as Root

describe('a home has its slot of an object', () => {
  test('by a certificate of the parity that the owner was told of', () => {
    expect(whatHomeHas([entry(0, [parity(1, { proven: true })])], wanted(1))).toMatchObject({ provenSeqs: [0] })
  })

  // Two owners of the same bytes, each of whom saw no parity in the log and paid for one (seed 40180).
  test('by a certificate that names another entry of the same parity', () => {
    const entries = [entry(0, [parity(1, { proven: true }), parity(2, {})])]
    expect(whatHomeHas(entries, wanted(2))).toMatchObject({ provenSeqs: [0] })
  })

  // The same, where each has an entry of the data as well (seed 40078).
  test('by a certificate of another entry of the same bytes that names another entry of the same parity', () => {
    const entries = [entry(0, [parity(1, {}), parity(3, {})]), entry(2, [parity(1, {}), parity(3, { proven: true })])]
    expect(whatHomeHas(entries, wanted(1))).toMatchObject({ provenSeqs: [2] })
  })

  const lacking = { provenSeqs: [], why: expect.any(String) as string }

  test.each([
    ['other parity of the same code', { proven: true, root: BOGUS }],
    ['the same bytes under another code', { proven: true, code: { k: 3, m: 2 } }],
    ['nothing that is proven', {}],
  ])('and not by a certificate of %s', (_, other) => {
    expect(whatHomeHas([entry(0, [parity(1, {}), parity(2, other)])], wanted(1))).toEqual(lacking)
  })

  test('and not without the shards', () => {
    const entries = [entry(0, [parity(1, { proven: true, slots: [0, 1] })])]
    expect(whatHomeHas(entries, wanted(1))).toEqual(lacking)
  })
})

describe('homes that no certificate names', () => {
  const homes = [
    { slot: 0, id: 7 },
    { slot: 1, id: 8 },
  ]
  const named = (seq: number, at: number): { seq: number; slot: number; id: number } => ({ seq, ...homes[at]! })

  test('are all of them where nobody has one', () => {
    expect(unnamedSlots(homes, [])).toEqual(homes)
  })

  // Entry 0 has a certificate that was made before the last shard came; the one of entry 1 names all, and both are kept by it (seed 103907).
  test('are none where that of one entry of the same bytes names all', () => {
    expect(unnamedSlots(homes, [named(0, 0), named(1, 0), named(1, 1)])).toEqual([])
  })

  test('are not named by those of two entries together', () => {
    expect(unnamedSlots(homes, [named(0, 0), named(1, 1)])).toHaveLength(1)
  })

  test('are told of the entry that lacks fewest', () => {
    const three = [...homes, { slot: 2, id: 9 }]
    expect(unnamedSlots(three, [named(0, 0), named(1, 0), named(1, 1)])).toEqual([{ slot: 2, id: 9 }])
  })

  test('by the slot that it has', () => {
    expect(unnamedSlots(homes, [{ seq: 0, slot: 1, id: 7 }, named(0, 1)])).toEqual([homes[0]])
  })
})

const wanted = (seq: number): Parameters<typeof whatHomeHas>[1] => ({
  seq: 0,
  slot: 2,
  layout: shardLayoutOf(SIZE_BYTES, CODE)!,
  parity: { root: PARITY, seq },
})

function parity(
  seq: number,
  about: {
    readonly root?: Root
    readonly code?: ErasureCode
    readonly proven?: boolean
    readonly slots?: readonly number[]
  },
): HeldEntry['parities'][number] {
  return { seq, root: PARITY, code: CODE, proven: false, slots: [2], ...about }
}

function entry(seq: number, parities: HeldEntry['parities']): HeldEntry {
  return {
    seq,
    root: DATA,
    sizeBytes: SIZE_BYTES,
    startChunk: 1024 * (seq + 1),
    blockNumber: 1,
    txHash: `0x${'00'.repeat(32)}` as TxHash,
    complete: false,
    heldSegmentCount: 0,
    contiguousSegmentCount: 0,
    parities,
  }
}
