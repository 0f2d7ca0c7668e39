import { describe, expect, test } from 'vitest'
import { concat } from '../bytes.ts'
import { toHex } from '../hex.ts'
import { PROOF_DEPTH_MAX } from '../limits.ts'
import type { ProvenSegment } from '../types.ts'
import { decodeFrames, encodeFrameHeader, encodeFrames } from './frames.ts'

const hash = (byte: number) => new Uint8Array(32).fill(byte)
const segment: ProvenSegment = {
  index: 0x01020304,
  data: new Uint8Array(512).fill(9),
  proof: { siblings: [hash(1), hash(2), hash(3)], lefts: [true, false, true] },
}

test('a frame has the layout of docs/wire.md', () => {
  expect(toHex(encodeFrameHeader(segment))).toBe(
    `0x0102030400000200030000000000000005${'01'.repeat(32)}${'02'.repeat(32)}${'03'.repeat(32)}`,
  )
  const parts = encodeFrames([segment])
  expect(parts).toHaveLength(2)
  expect(parts[1]).toBe(segment.data)
})

test('the deepest proof uses all 48 bits', () => {
  const deep: ProvenSegment = {
    index: 0,
    data: new Uint8Array(256),
    proof: {
      siblings: Array.from({ length: PROOF_DEPTH_MAX }, (_, i) => hash(i)),
      lefts: Array.from({ length: PROOF_DEPTH_MAX }, (_, i) => i === 0 || i === 47),
    },
  }
  expect(toHex(encodeFrameHeader(deep).subarray(9, 17))).toBe('0x0000800000000001')
  expect(decodeFrames(concat(encodeFrames([deep])), { segmentsMax: 1 })).toEqual([deep])
})

test('decoding copies nothing: data and siblings are views into the body', () => {
  const body = concat(encodeFrames([segment]))
  const [decoded] = decodeFrames(body, { segmentsMax: 1 })
  expect(decoded!.data.buffer).toBe(body.buffer)
  expect(decoded!.proof.siblings[0]!.buffer).toBe(body.buffer)
})

test('a body may lie anywhere in a larger buffer', () => {
  const body = concat(encodeFrames([segment]))
  const larger = new Uint8Array(body.length + 10).fill(0xee)
  larger.set(body, 3)
  expect(decodeFrames(larger.subarray(3, 3 + body.length), { segmentsMax: 1 })).toEqual([segment])
})

describe('a body is refused', () => {
  const good = concat(encodeFrames([segment]))
  const changed = (at: number, ...bytes: number[]) => {
    const copy = good.slice()
    copy.set(bytes, at)
    return copy
  }
  test.each([
    ['when it is empty', new Uint8Array(0), 'the body is empty'],
    ['when the header is cut off', good.subarray(0, 16), 'the header is cut off'],
    ['when the siblings are cut off', good.subarray(0, 100), 'the frame is cut off'],
    ['when the data is cut off', good.subarray(0, good.length - 1), 'the frame is cut off'],
    ['when bytes trail', concat([good, Uint8Array.of(0)]), 'the header is cut off'],
    ['when a segment comes twice', concat([good, good]), 'the segment comes twice'],
    ['when the length is zero', changed(4, 0, 0, 0, 0), 'the data length is not whole chunks of one segment'],
    [
      'when the length is no multiple of 256',
      changed(4, 0, 0, 2, 1),
      'the data length is not whole chunks of one segment',
    ],
    ['when the length passes a segment', changed(4, 0, 4, 1, 0), 'the data length is not whole chunks of one segment'],
    ['when the length passes 2^31', changed(4, 255, 255, 255, 0), 'the data length is not whole chunks of one segment'],
    ['when the proof is too deep', changed(8, 49), 'the proof is too deep'],
    ['when a bit above the depth is set', changed(16, 8 + 5), 'bits above the depth are set'],
    ['when the highest bit is set', changed(9, 0x80), 'bits above the depth are set'],
  ])('%s', (_, body, reason) => {
    expect(() => decodeFrames(body, { segmentsMax: 2 })).toThrow(
      expect.objectContaining({ code: 'FRAME_INVALID', facts: expect.objectContaining({ reason }) }),
    )
  })

  test('when it holds more frames than asked for', () => {
    const two = concat(encodeFrames([segment, { ...segment, index: 1 }]))
    expect(decodeFrames(two, { segmentsMax: 2 })).toHaveLength(2)
    expect(() => decodeFrames(two, { segmentsMax: 1 })).toThrow(expect.objectContaining({ code: 'FRAME_INVALID' }))
  })
})

test.each([
  ['an index of five bytes', { ...segment, index: 2 ** 32 }],
  ['a negative index', { ...segment, index: -1 }],
  ['half an index', { ...segment, index: 0.5 }],
  ['data that is no whole chunk', { ...segment, data: new Uint8Array(255) }],
  ['a side too many', { ...segment, proof: { siblings: [], lefts: [true] } }],
  ['a sibling that is no hash', { ...segment, proof: { siblings: [new Uint8Array(31)], lefts: [true] } }],
])('we never encode %s', (_, wrong) => {
  expect(() => encodeFrameHeader(wrong)).toThrow('invariant broken')
})
