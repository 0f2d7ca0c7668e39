import { describe, expect, test } from 'vitest'
import { affordableCode, checkNewNetwork, chooseCode, nodeCountFor } from './networkCode.ts'

describe('the code of a network', () => {
  test.each([
    [{ asked: undefined, known: undefined }, 6, '4+2'],
    [{ asked: undefined, known: undefined }, 5, 'none'],
    [{ asked: undefined, known: 'none' }, 6, 'none'],
    [{ asked: 'none', known: '4+2' }, 6, 'none'],
    [{ asked: '10+4', known: '4+2' }, 12, '10+4'],
    [{ asked: '1+2', known: undefined }, 2, '1+2'],
    // Nodes were removed since: it starts, and gives what the nodes allow.
    [{ asked: undefined, known: '4+2' }, 3, '4+2'],
  ])('of %j over %i nodes is %s', (from, nodeCount, expected) => {
    expect(chooseCode(from, nodeCount)).toBe(expected)
  })

  test.each([
    ['10+4', 11],
    ['4+2', 4],
  ])('that is asked for and cannot be durable is refused: %s over %i nodes', (asked, nodeCount) => {
    const refusal = new RegExp(`needs ${nodeCount + 1} storage nodes`)
    expect(() => chooseCode({ asked, known: undefined }, nodeCount)).toThrow(refusal)
  })

  test('protects uploads that name none while nodes enough answer, else there are three copies', () => {
    expect([6, 5, 4].map((count) => affordableCode('4+2', count))).toEqual(['4+2', '4+2', 'none'])
    expect(affordableCode('none', 1)).toBe('none')
  })

  test.each([
    [undefined, 6],
    ['none', 6],
    ['1+2', 6],
    ['10+4', 14],
    ['24+8', 32],
  ])('%s gives a new network %i nodes', (code, nodeCount) => {
    expect(nodeCountFor(code)).toBe(nodeCount)
  })

  test.each([
    [{ nodes: undefined, code: '60+60' }, /--nodes N/],
    [{ nodes: 4, code: '4+2' }, /needs 5 storage nodes/],
  ])('of a new network is checked before anything is made: %j', (asked, refusal) => {
    expect(() => checkNewNetwork(asked)).toThrow(refusal)
    checkNewNetwork({ nodes: 6, code: '4+2' })
    checkNewNetwork({ nodes: 1, code: undefined })
  })

  test('with more slots than there can be nodes wants to be told how many', () => {
    expect(() => nodeCountFor('60+60')).toThrow(/--nodes N/)
  })
})
