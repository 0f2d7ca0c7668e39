import { describe, expect, test } from 'vitest'
import { parseCodeName, parseNodeCount, parsePortBase, parseRange, parseRoots, parseSeconds } from './arguments.ts'

const root = `0x${'ab'.repeat(32)}`

describe('arguments', () => {
  test.each([
    ['0-0', { start: 0, end: 1 }],
    ['5-9', { start: 5, end: 10 }],
    ['7-', { start: 7, end: undefined }],
  ])('--range %s names bytes as HTTP does, both ends included', (text, range) => {
    expect(parseRange(text)).toEqual(range)
  })

  test.each(['', '-', '-5', '9-5', '1e3-2e3', '0x1-0x2', '1-2-3', ' 1-2', '9999999999999999-'])(
    '--range %j is refused',
    (text) => {
      expect(() => parseRange(text)).toThrow(/USAGE/)
    },
  )

  test('--code names data and parity', () => {
    expect(parseCodeName('29+51')).toBe('29+51')
    expect(parseCodeName('none')).toBe('none')
  })

  test.each(['', '4', '4+0', '4-2', '200+57', '4+2+1', ' 4+2'])('--code %j is refused', (text) => {
    expect(() => parseCodeName(text)).toThrow(/USAGE/)
  })

  test('several roots are the fragments of one file, in order and in lower case', () => {
    expect(parseRoots(`${root},0x${'CD'.repeat(32)}`)).toEqual([root, `0x${'cd'.repeat(32)}`])
  })

  test.each(['', '0x', 'ab'.repeat(32), `${root},`, `${root}0`, Array.from({ length: 1025 }, () => root).join(',')])(
    '%.70j is no list of roots',
    (text) => {
      expect(() => parseRoots(text)).toThrow(/USAGE/)
    },
  )

  test.each([
    [parseNodeCount, '6', 6],
    [parsePortBase, '0', 0],
    [parsePortBase, '8600', 8600],
    [parseSeconds, '60', 60],
  ] as const)('%o reads %s', (parse, text, value) => {
    expect(parse(text)).toBe(value)
  })

  test.each([
    [parseNodeCount, '0'],
    [parseNodeCount, '97'],
    [parseNodeCount, '6.5'],
    [parseNodeCount, '-1'],
    [parsePortBase, '80'],
    [parsePortBase, '65535'],
    [parsePortBase, '8600x'],
    [parseSeconds, '0'],
    [parseSeconds, 'NaN'],
  ] as const)('%o refuses %s', (parse, text) => {
    expect(() => parse(text)).toThrow(/USAGE/)
  })
})
