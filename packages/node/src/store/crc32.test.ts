import fc from 'fast-check'
import { expect, test } from 'vitest'
import { crc32 as machineCrc32 } from '@weightless/host'
import { crc32 } from './crc32.ts'

test('the check value of CRC-32 is right', () => {
  expect(crc32(new TextEncoder().encode('123456789'))).toBe(0xcbf43926)
})

test('the plain twin and the machine agree, whole and continued', () => {
  fc.assert(
    fc.property(fc.uint8Array(), fc.uint8Array(), (a, b) => {
      expect(crc32(b, crc32(a))).toBe(machineCrc32(b, machineCrc32(a)))
    }),
  )
})
