import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { runs } from '../../../../sim/runs.ts'
import { concat } from '../bytes.ts'
import { isFailure } from '../errors.ts'
import type { ProvenSegment } from '../types.ts'
import { decodeFrames, encodeFrames, layFrames } from './frames.ts'

const segment: fc.Arbitrary<ProvenSegment> = fc
  .record({
    index: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    chunks: fc.integer({ min: 1, max: 4 }),
    fill: fc.nat(255),
    lefts: fc.array(fc.boolean(), { maxLength: 48 }),
  })
  .map(({ index, chunks, fill, lefts }) => ({
    index,
    data: new Uint8Array(chunks * 256).fill(fill),
    proof: { siblings: lefts.map((_, i) => new Uint8Array(32).fill((fill + i) & 0xff)), lefts },
  }))
const segments = fc.uniqueArray(segment, { minLength: 1, maxLength: 5, selector: ({ index }) => index })

test('what is encoded is decoded', () => {
  fc.assert(
    fc.property(segments, (list) => {
      expect(decodeFrames(concat(encodeFrames(list)), { segmentsMax: 5 })).toEqual(list)
    }),
    runs(2),
  )
})

test('a body laid out before its data is the body encoded with them, whatever its buffer held', () => {
  fc.assert(
    fc.property(segments, fc.nat(300), (list, extra) => {
      const heads = list.map(({ index, data, proof }) => ({ index, dataSizeBytes: data.length, proof }))
      const { body, places } = layFrames(heads, (sizeBytes) => new Uint8Array(sizeBytes + extra).fill(0xee))
      list.forEach(({ data }, i) => places[i]!.set(data))
      expect(body).toEqual(concat(encodeFrames(list)))
    }),
    runs(2),
  )
})

function decodeOrRefuse(body: Uint8Array): readonly ProvenSegment[] | undefined {
  try {
    return decodeFrames(body, { segmentsMax: 5 })
  } catch (error) {
    expect(isFailure(error, 'FRAME_INVALID')).toBe(true)
    return undefined
  }
}

test('random bytes are decoded or refused with FRAME_INVALID, and nothing else happens', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), (body) => {
      decodeOrRefuse(body)
    }),
    runs(20),
  )
})

test('a damaged body is refused or decodes to what encodes to the same bytes', () => {
  fc.assert(
    fc.property(segments, fc.nat(), fc.nat(255), fc.nat(40), (list, at, byte, cut) => {
      const body = concat(encodeFrames(list))
      body[at % Math.min(body.length, 60)] = byte
      const damaged = body.subarray(0, body.length - cut)
      const decoded = decodeOrRefuse(damaged)
      if (decoded) expect(concat(encodeFrames(decoded))).toEqual(damaged)
    }),
    runs(10),
  )
})
