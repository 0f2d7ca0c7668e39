import { toHex } from '@weightless/core'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { encodeBlock, encodeSegmentHeader, type JournalBlock, readSegment } from './segment.ts'

const raw = fc.uint8Array({ maxLength: 1500 })
const hash = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => toHex(bytes))
const made = fc.record({
  base: fc.record({ number: fc.nat(), hash }),
  salt: fc.nat(),
  blocks: fc.array(
    fc.record({
      hash,
      timestampS: fc.nat(),
      baseFeeWei: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      transactions: fc.array(raw, { maxLength: 5 }),
    }),
    { maxLength: 6 },
  ),
})

function segmentOf({ base, salt, blocks: given }: typeof made extends fc.Arbitrary<infer T> ? T : never) {
  const header = { chainId: 31337, base, salt }
  const blocks: JournalBlock[] = given.map((block, i) => ({ ...block, number: base.number + 1 + i }))
  const parts = [encodeSegmentHeader(header), ...blocks.map((block) => encodeBlock(block, salt))]
  return { header, blocks, bytes: Uint8Array.from(parts.flatMap((part) => [...part])) }
}

test('any blocks come back as they were', () => {
  fc.assert(
    fc.property(made, (given) => {
      const { header, blocks, bytes } = segmentOf(given)
      expect(readSegment(bytes)).toEqual({ kind: 'read', header, blocks, tail: 'whole' })
    }),
  )
})

test('whatever becomes of the bytes, no block comes back that was not written, and none out of order', () => {
  const harm = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 8 })
  fc.assert(
    fc.property(made, harm, fc.nat(), ({ ...given }, changes, cut) => {
      const { blocks, bytes } = segmentOf(given)
      const harmed = bytes.slice(0, bytes.length - (cut % (bytes.length + 1)))
      if (harmed.length > 0) for (const [at, byte] of changes) harmed[at % harmed.length] = byte
      const reading = readSegment(harmed)
      if (reading.kind === 'read') expect(reading.blocks).toEqual(blocks.slice(0, reading.blocks.length))
    }),
  )
})

test('random bytes are no segment, and nothing worse', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 4096 }), (bytes) => {
      expect(readSegment(bytes).kind).not.toBe('read')
    }),
  )
})
