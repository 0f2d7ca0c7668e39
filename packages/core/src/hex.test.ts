import { expect, test } from 'vitest'
import { isFailure } from './errors.ts'
import { fromHex, parseAddress, parseHex, parseRoot, parseTxHash, rootOf, toHex } from './hex.ts'

const root = `0x${'aB'.repeat(32)}`
const address = `0x${'cD'.repeat(20)}`

test('roots, transaction hashes and addresses come in any case and leave in lower case', () => {
  expect(parseRoot(root)).toBe(root.toLowerCase())
  expect(parseTxHash(root)).toBe(root.toLowerCase())
  expect(parseAddress(address)).toBe(address.toLowerCase())
})

test.each([
  ['ROOT_INVALID', parseRoot],
  ['TX_HASH_INVALID', parseTxHash],
  ['ADDRESS_INVALID', parseAddress],
] as const)('%s names what is not one', (code, parse) => {
  for (const value of [
    undefined,
    null,
    5,
    '',
    '0x',
    root.slice(2),
    `${root}00`,
    root.slice(0, -1),
    `0x${'g'.repeat(64)}`,
    [root],
  ]) {
    expect(() => parse(value)).toThrow(expect.objectContaining({ code }))
  }
})

test('hex is parsed within its limit and as whole bytes', () => {
  const options = { name: 'tags', sizeBytesMax: 2 }
  expect(parseHex('0x', options)).toEqual(new Uint8Array(0))
  expect(parseHex('0x01fF', options)).toEqual(Uint8Array.of(1, 255))
  for (const value of ['0x1', '0x010203', '01', '0xzz', 5, undefined]) {
    try {
      parseHex(value, options)
      expect.unreachable()
    } catch (error) {
      expect(isFailure(error, 'HEX_INVALID')).toBe(true)
    }
  }
})

test('bytes and hex are each other’s inverse, with or without the prefix', () => {
  const bytes = Uint8Array.of(0, 1, 254, 255)
  expect(toHex(bytes)).toBe('0x0001feff')
  expect(fromHex('0x0001feff')).toEqual(bytes)
  expect(fromHex('0001feff')).toEqual(bytes)
})

test('only 32 bytes make a root', () => {
  expect(rootOf(new Uint8Array(32))).toBe(`0x${'00'.repeat(32)}`)
  expect(() => rootOf(new Uint8Array(31))).toThrow('a root has 32 bytes')
})
