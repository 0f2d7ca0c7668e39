import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { runs } from '../../../../sim/runs.ts'
import { rootOf, toHex } from '../hex.ts'
import { encodeParityTags, parseParityTags } from './parityTags.ts'

const value = fc.record({
  code: fc
    .tuple(fc.integer({ min: 1, max: 255 }), fc.integer({ min: 1, max: 255 }))
    .filter(([k, m]) => k + m <= 256)
    .map(([k, m]) => ({ k, m })),
  dataRoot: fc.uint8Array({ minLength: 32, maxLength: 32 }).map(rootOf),
  sizeBytes: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
})

test('what is written is read', () => {
  fc.assert(
    fc.property(value, (tags) => {
      expect(parseParityTags(encodeParityTags(tags))).toEqual(tags)
    }),
    runs(2),
  )
})

test('any bytes are read as something that would be written as these very bytes, or not at all', () => {
  const near = fc.tuple(value, fc.nat(74), fc.nat(255)).map(([tags, at, byte]) => {
    const bytes = encodeParityTags(tags)
    bytes[at] = byte
    return bytes
  })
  fc.assert(
    fc.property(fc.oneof(near, fc.uint8Array({ maxLength: 100 })), (bytes) => {
      const read = parseParityTags(bytes)
      if (read !== undefined) expect(toHex(encodeParityTags(read))).toBe(toHex(bytes))
    }),
    runs(5),
  )
})
