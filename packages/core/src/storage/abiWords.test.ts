import { expect, test } from 'vitest'
import { toHex } from '../hex.ts'
import { uintWord, word } from './abiWords.ts'

test('integers are 32 bytes, big-endian', () => {
  expect(toHex(uintWord(0n))).toBe(`0x${'00'.repeat(32)}`)
  expect(toHex(uintWord(0x0102n))).toBe(`0x${'00'.repeat(30)}0102`)
  expect(toHex(uintWord((1n << 256n) - 1n))).toBe(`0x${'ff'.repeat(32)}`)
  expect(() => uintWord(1n << 256n)).toThrow('256 bits')
  expect(() => uintWord(-1n)).toThrow('256 bits')
})

test('shorter values stand on the right', () => {
  expect(toHex(word(Uint8Array.of(1, 2)))).toBe(`0x${'00'.repeat(30)}0102`)
  expect(() => word(new Uint8Array(33))).toThrow('32 bytes')
})
