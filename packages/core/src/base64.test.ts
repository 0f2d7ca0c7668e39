import { expect, test } from 'vitest'
import { decodeBase64, encodeBase64 } from './base64.ts'

// RFC 4648 section 10.
test.each([
  ['', ''],
  ['f', 'Zg=='],
  ['fo', 'Zm8='],
  ['foo', 'Zm9v'],
  ['foob', 'Zm9vYg=='],
  ['fooba', 'Zm9vYmE='],
  ['foobar', 'Zm9vYmFy'],
])('%j is %j', (plain, text) => {
  const bytes = new TextEncoder().encode(plain)
  expect(encodeBase64(bytes)).toBe(text)
  expect(decodeBase64(text)).toEqual(bytes)
  expect(decodeBase64(new TextEncoder().encode(text))).toEqual(bytes)
})

test.each([
  ['padding is missing', 'Zg'],
  ['padding is too long', 'Zg==='],
  ['padding stands alone', '===='],
  ['padding stands inside', 'Zg==Zm8='],
  ['one equals sign before the end', 'Z=m8'],
  ['three equals signs', 'Z==='],
  ['the URL alphabet', 'Zm-_'],
  ['white space', 'Zm9v\nZm9v\n  '],
  ['a character above ASCII', 'Zm9é'],
  ['a stray bit behind one byte', 'Zh=='],
  ['a stray bit behind two bytes', 'Zm9='],
  ['a stranger in the padded group', '?g=='],
  ['a stranger in the padded group of three', 'Z?8='],
])('%s: refused', (_, text) => {
  expect(decodeBase64(text)).toBeUndefined()
})
