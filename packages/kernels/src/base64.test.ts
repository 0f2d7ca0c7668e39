import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createBase64Decoder, decodeBase64Groups } from './base64.ts'

const simd = createBase64Decoder('simd')
const scalar = createBase64Decoder('scalar')

/** Sizes whose text has no padding, around the steps of 12 bytes and the area of 98 304. */
const SIZES = [0, 3, 9, 12, 15, 24, 98_301, 98_304, 98_307, 262_143, 300_000]

describe.each([
  ['simd', simd],
  ['scalar', scalar],
  ['the best of this machine', decodeBase64Groups],
])('%s', (_, decode) => {
  test.each(SIZES)('%d bytes come back', (sizeBytes) => {
    const bytes = randomBytes(sizeBytes)
    const out = new Uint8Array(sizeBytes + 1).fill(0x5a)
    expect(decode(textOf(bytes), out)).toBe(true)
    expect(Buffer.compare(out.subarray(0, sizeBytes), bytes)).toBe(0)
    expect(out[sizeBytes]).toBe(0x5a)
  })

  test('each of the 256 byte values is in the alphabet or is refused, at each place of a step', () => {
    const alphabet = new Set('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/')
    for (let place = 0; place < 36; place++) {
      for (let byte = 0; byte < 256; byte++) {
        const text = new Uint8Array(36).fill(0x41)
        text[place] = byte
        const isKnown = alphabet.has(String.fromCharCode(byte))
        expect({ place, byte, is: decode(text, new Uint8Array(27)) }).toEqual({ place, byte, is: isKnown })
      }
    }
  })

  test('a stranger before the end of a long text is found', () => {
    const text = textOf(randomBytes(300_000))
    for (const place of [0, 131_071, 131_072, 262_144, text.length - 17, text.length - 1]) {
      const broken = Uint8Array.from(text)
      broken[place] = 0x3d
      expect({ place, is: decode(broken, new Uint8Array(300_000)) }).toEqual({ place, is: false })
    }
  })

  test('shared memory is as good as any, and the text stays as it is', () => {
    const text = textOf(randomBytes(30_000))
    const before = Uint8Array.from(text)
    const out = new Uint8Array(new SharedArrayBuffer(30_000))
    expect(decode(text, out)).toBe(true)
    expect(Buffer.from(out).toString('base64')).toBe(Buffer.from(text).toString())
    expect(text).toEqual(before)
  })

  test('half a group, and a target that is too small, are the caller’s bugs', () => {
    expect(() => decode(new Uint8Array(3), new Uint8Array(9))).toThrow(RangeError)
    expect(() => decode(new Uint8Array(16), new Uint8Array(11))).toThrow(RangeError)
  })
})

test('simd and scalar agree on any bytes', () => {
  const character = fc.oneof(
    { weight: 50, arbitrary: fc.constantFrom(...Buffer.from('AZaz09+/Qq')) },
    { weight: 1, arbitrary: fc.nat(255) },
  )
  fc.assert(
    fc.property(fc.array(character, { maxLength: 200 }), (characters) => {
      const text = Uint8Array.from(characters.slice(0, characters.length - (characters.length % 4)))
      const [bySimd, byScalar] = [new Uint8Array(150), new Uint8Array(150)]
      const isRead = simd(text, bySimd)
      expect(isRead).toBe(scalar(text, byScalar))
      if (isRead) expect(bySimd).toEqual(byScalar)
    }),
  )
})

function textOf(bytes: Uint8Array): Uint8Array {
  return Uint8Array.from(Buffer.from(Buffer.from(bytes).toString('base64')))
}

function randomBytes(sizeBytes: number): Uint8Array {
  let state = 1
  return Uint8Array.from({ length: sizeBytes }, () => (state = (state * 1_664_525 + 1_013_904_223) >>> 0) >>> 24)
}
