import { expect, test } from 'vitest'
import { crc32 } from './crc32.ts'

test('the check value of CRC-32 is right, whole and in parts', () => {
  const text = new TextEncoder().encode('123456789')
  expect(crc32(text)).toBe(0xcbf43926)
  expect(crc32(text.subarray(4), crc32(text.subarray(0, 4)))).toBe(0xcbf43926)
})
