import { toHex } from '@weightless/core'
import { describe, expect, test } from 'vitest'
import { createChance } from '../../../../sim/chance.ts'
import {
  encodeBlock,
  encodeSegmentHeader,
  type JournalBlock,
  readSegment,
  SEGMENT_HEADER_BYTES,
  type SegmentReading,
} from './segment.ts'

const chance = createChance(1)
const hashOf = (n: number): JournalBlock['hash'] => toHex(new Uint8Array(32).fill(n))
const header = { chainId: 31337, base: { number: 7, hash: hashOf(7) }, salt: 0x1234567 }

function block(number: number, sizes: readonly number[]): JournalBlock {
  const transactions = sizes.map((size) => chance.bytes(size))
  return { number, hash: hashOf(number), timestampS: 1_800_000_000 + number, baseFeeWei: 10n ** 9n, transactions }
}

const blocks = [block(8, [110, 500]), block(9, []), block(10, [2_000]), block(11, [120])]
const records = blocks.map((one) => encodeBlock(one, header.salt))

function segment(count = blocks.length): Uint8Array {
  return Uint8Array.from([encodeSegmentHeader(header), ...records.slice(0, count)].flatMap((part) => [...part]))
}
/** Where record `i` begins. */
const startOf = (i: number): number =>
  records.slice(0, i).reduce((sum, record) => sum + record.length, SEGMENT_HEADER_BYTES)
const numbersOf = (reading: SegmentReading): readonly number[] =>
  reading.kind === 'read' ? reading.blocks.map(({ number }) => number) : []

test('a segment gives back the blocks that were written, byte for byte', () => {
  expect(readSegment(segment())).toEqual({ kind: 'read', header, blocks, tail: 'whole' })
  expect(readSegment(segment(0))).toEqual({ kind: 'read', header, blocks: [], tail: 'whole' })
})

/** As it lies on disk: records, and zeros that were written ahead. */
function withZeros(bytes: Uint8Array): Uint8Array {
  const ahead = new Uint8Array(8192)
  ahead.set(bytes)
  return ahead
}

test('zeros behind the last record are no record, and nothing is missing', () => {
  for (let count = 0; count <= blocks.length; count++)
    expect(readSegment(withZeros(segment(count)))).toEqual({
      kind: 'read',
      header,
      blocks: blocks.slice(0, count),
      tail: 'whole',
    })
})

describe('a last write that was cut off', () => {
  test('at any byte leaves the blocks before it', () => {
    const whole = segment()
    const last = startOf(3)
    for (let sizeBytes = last + 1; sizeBytes < whole.length; sizeBytes++) {
      const reading = readSegment(whole.subarray(0, sizeBytes))
      expect([sizeBytes, reading.kind, numbersOf(reading)]).toEqual([sizeBytes, 'read', [8, 9, 10]])
      expect(reading).toMatchObject({ tail: 'torn' })
    }
  })

  test('by losing any of its sectors, with the file as long as it should be, leaves the blocks before it', () => {
    const whole = segment(3)
    const [from, to] = [startOf(2), startOf(3)]
    const cuts = [from, ...Array.from({ length: 8 }, (_, i) => Math.ceil((from + 1) / 512) * 512 + i * 512), to]
    const pieces = cuts
      .filter((at) => at <= to)
      .slice(0, -1)
      .map((at, i) => [at, Math.min(to, cuts[i + 1]!)] as const)
    expect(pieces.length).toBeGreaterThan(4)
    for (let lost = 1; lost < 2 ** pieces.length; lost++) {
      const torn = whole.slice()
      pieces.forEach(([start, end], i) => (lost >> i) & 1 && torn.fill(0, start, end))
      for (const bytes of [torn, withZeros(torn)]) {
        const reading = readSegment(bytes)
        expect([lost, reading.kind, numbersOf(reading)]).toEqual([lost, 'read', [8, 9]])
      }
    }
  })

  test('of the header itself is a file in which nothing was ever acknowledged', () => {
    for (let sizeBytes = 0; sizeBytes < SEGMENT_HEADER_BYTES; sizeBytes++)
      expect(readSegment(segment(0).subarray(0, sizeBytes))).toEqual({ kind: 'unborn' })
    expect(readSegment(new Uint8Array(4096))).toEqual({ kind: 'unborn' })
  })
})

describe('a bit that changed', () => {
  test('anywhere in a whole segment is damage, in the last record as well, and never a block less', () => {
    const whole = segment()
    for (let at = 0; at < whole.length; at++) {
      const rotten = whole.slice()
      rotten[at]! ^= 1 << (at % 8)
      expect([at, readSegment(rotten).kind]).toEqual([at, 'damaged'])
    }
  })

  test('is told with the place of its record', () => {
    const rotten = segment()
    rotten[startOf(2) + 100]! ^= 0x10
    expect(readSegment(rotten)).toEqual({ kind: 'damaged', offset: startOf(2) })
  })

  test('to zero for a whole sector in the middle is damage: behind a write that was cut off there is nothing', () => {
    const rotten = segment()
    const sector = Math.ceil(startOf(2) / 512) * 512
    rotten.fill(0, sector, sector + 512)
    expect(readSegment(rotten)).toMatchObject({ kind: 'damaged' })
  })
})

describe('what does not belong there', () => {
  test('a record of another segment is damage, although its own bytes are whole', () => {
    const other = encodeBlock(block(9, [100]), header.salt + 1)
    expect(readSegment(Uint8Array.from([...segment(1), ...other]))).toMatchObject({ kind: 'damaged' })
  })

  test('a block that does not follow the one before it is damage', () => {
    for (const number of [8, 10])
      expect(
        readSegment(Uint8Array.from([...segment(1), ...encodeBlock(block(number, [1]), header.salt)])),
      ).toMatchObject({ kind: 'damaged' })
  })

  test('a transaction whose bytes are a record does not make a torn write look like damage', () => {
    // Whoever wrote it does not know the salt.
    const bait = encodeBlock(block(99, [10]), 0).map((byte) => byte ^ 0xa5)
    const record = encodeBlock({ ...block(9, []), transactions: [new Uint8Array(600).fill(1), bait] }, header.salt)
    const torn = Uint8Array.from([...segment(1), ...record])
    torn.fill(0, startOf(1), Math.ceil(startOf(1) / 512) * 512)
    expect(readSegment(torn)).toMatchObject({ kind: 'read', tail: 'torn' })
  })
})
