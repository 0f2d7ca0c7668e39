import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { crc32 } from './crc32.ts'
import {
  decodeSlot,
  encodeSlotHead,
  encodeTombstone,
  parseSlotHeader,
  recordBytes,
  SLOT_CLASS_BYTES,
  slotClassOf,
  type SlotSegment,
} from './slot.ts'

const segment = fc
  .record({
    root: fc.uint8Array({ minLength: 32, maxLength: 32 }),
    index: fc.nat(2 ** 32 - 1),
    data: fc.uint8Array({ minLength: 1, maxLength: 600 }),
    lefts: fc.array(fc.boolean(), { maxLength: 48 }),
  })
  .map(({ root, index, data, lefts }): SlotSegment => ({
    root,
    index,
    data,
    proof: { lefts, siblings: lefts.map((_, i) => new Uint8Array(32).fill(i + 1)) },
  }))
const place = fc.record({ classId: fc.constant(0), slot: fc.nat(2 ** 32 - 1), sequence: fc.nat(2 ** 48 - 1) })

function recordOf(made: SlotSegment, at: { classId: number; slot: number; sequence: number }): Uint8Array {
  return Uint8Array.from([...encodeSlotHead(made, at, crc32), ...made.data])
}

describe('a slot', () => {
  test('tells all that the index knows, and the segment itself', () => {
    fc.assert(
      fc.property(segment, place, (made, at) => {
        const record = recordOf(made, at)
        const header = parseSlotHeader(record)!
        expect(header).toEqual({
          kind: 'segment',
          ...at,
          root: made.root,
          index: made.index,
          dataBytes: made.data.length,
          depth: made.proof.lefts.length,
        })
        expect(record.length).toBe(recordBytes(header.dataBytes, header.depth))
        const { root, index, data, proof } = decodeSlot(record, header, crc32)!
        expect([...data]).toEqual([...made.data])
        expect({ root, index, proof }).toEqual({ root: made.root, index: made.index, proof: made.proof })
      }),
    )
  })

  test('with any bit flipped is no slot', () => {
    fc.assert(
      fc.property(segment, place, fc.nat(), (made, at, bit) => {
        const record = recordOf(made, at)
        const where = bit % (record.length * 8)
        record[where >> 3]! ^= 1 << (where & 7)
        const header = parseSlotHeader(record)
        expect(header && decodeSlot(record, header, crc32)).toBeUndefined()
      }),
    )
  })

  test('cut short is no slot', () => {
    fc.assert(
      fc.property(segment, place, fc.nat(), (made, at, cut) => {
        const record = recordOf(made, at)
        const short = record.subarray(0, cut % record.length)
        const header = parseSlotHeader(short)
        expect(header && decodeSlot(short, header, crc32)).toBeUndefined()
      }),
    )
  })

  test('of zeros, of chance and of a tombstone is no segment', () => {
    expect(parseSlotHeader(new Uint8Array(4096))).toBeUndefined()
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 72, maxLength: 200 }), (bytes) => {
        expect(parseSlotHeader(bytes)).toBeUndefined()
      }),
    )
    const tombstone = encodeTombstone({ classId: 3, slot: 7, sequence: 9 }, new Uint8Array(32).fill(1), crc32)
    const header = parseSlotHeader(tombstone)!
    expect(header).toMatchObject({ kind: 'removed', classId: 3, slot: 7, sequence: 9 })
    expect(decodeSlot(tombstone, header, crc32)).toBeUndefined()
  })

  test('of the smallest class that fits is chosen; a whole segment with the deepest proof fits the largest', () => {
    const of = (sizeBytes: number, depth: number): number =>
      slotClassOf({
        root: new Uint8Array(32),
        index: 0,
        data: new Uint8Array(sizeBytes),
        proof: {
          siblings: Array.from({ length: depth }, () => new Uint8Array(32)),
          lefts: Array.from({ length: depth }, () => true),
        },
      })
    expect([
      of(256, 0),
      of(3840, 5),
      of(4024, 0),
      of(4025, 0),
      of(16_384, 48),
      of(65_536, 48),
      of(65_792, 48),
      of(262_144, 48),
    ]).toEqual([0, 0, 0, 1, 1, 2, 2, 3])
    expect(SLOT_CLASS_BYTES).toEqual([4096, 20_480, 69_632, 266_240])
  })
})
