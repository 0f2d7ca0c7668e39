import { expect, test } from 'vitest'
import { isCode, parseCode } from './code.ts'

test.each([
  ['4+2', 4, 2],
  ['1+2', 1, 2],
  ['29+51', 29, 51],
  ['64+64', 64, 64],
  ['1+255', 1, 255],
  ['255+1', 255, 1],
])('%s is a code', (text, k, m) => {
  expect(parseCode(text)).toEqual({ k, m })
})

test.each([
  '',
  '4',
  '4+',
  '+2',
  '0+2',
  '4+0',
  '200+57',
  '256+1',
  '4 + 2',
  '04+2',
  '4+2+1',
  '4.0+2',
  '-4+2',
  '4+2\n',
  42,
])('%j is none', (value) => {
  expect(() => parseCode(value)).toThrow(expect.objectContaining({ code: 'CODE_INVALID' }))
})

test('a code has whole numbers', () => {
  expect(isCode({ k: 1.5, m: 2 })).toBe(false)
  expect(isCode({ k: 2, m: Number.NaN })).toBe(false)
})
