import { describe, expect, test } from 'vitest'
import { matches, parseSubscription } from './subscriptions.ts'

const address = (digit: string): string => `0x${digit.repeat(40)}`
const topic = (digit: string): string => `0x${digit.repeat(64)}`
const isTold = (filter: unknown, log: { address: string; topics: string[] }): boolean => {
  const subscription = parseSubscription(['logs', filter])
  if (subscription?.kind !== 'logs') throw new Error('no subscription to logs')
  return matches(subscription.filter, log)
}

describe('what one can subscribe to', () => {
  test.each([[['newHeads']], [['newHeads', null]], [['newPendingTransactions']]])('%j', (params) => {
    expect(parseSubscription(params)).toEqual({ kind: params[0] })
  })
  test.each([
    [[]],
    [['syncing']],
    [['newheads']],
    [[{}]],
    [['newHeads', {}]],
    [['newPendingTransactions', true]],
    [['logs', []]],
    [['weightless_blocks', []]],
    [['weightless_blocks', { address: 'x' }]],
    [['logs', 'x']],
    [['logs', { address: 'x' }]],
    [['logs', { address: 1 }]],
    [['logs', { address: Array.from({ length: 257 }, () => address('1')) }]],
    [['logs', { topics: 'x' }]],
    [['logs', { topics: [topic('1').slice(0, 10)] }]],
    [['logs', { topics: Array.from({ length: 5 }, () => null) }]],
    [['logs', { topics: [[[topic('1')]]] }]],
  ])('%j is refused', (params) => expect(parseSubscription(params)).toBeUndefined())
})

describe('which logs a filter tells', () => {
  const log = { address: address('a'), topics: [topic('1'), topic('2')] }
  test.each([
    ['no filter', undefined, true],
    ['nothing in it', {}, true],
    ['its address, in any case', { address: address('A') }, true],
    ['one of several addresses', { address: [address('b'), address('a')] }, true],
    ['another address', { address: address('b') }, false],
    ['an empty list of addresses stands for any', { address: [] }, true],
    ['its first topic', { topics: [topic('1')] }, true],
    ['its first topic in the wrong place', { topics: [topic('2')] }, false],
    ['anything, then its second topic', { topics: [null, topic('2')] }, true],
    ['an empty list stands for anything', { topics: [[], topic('2')] }, true],
    ['one of several topics', { topics: [[topic('9'), topic('1')]] }, true],
    ['a topic that the log does not have', { topics: [null, null, topic('3')] }, false],
    ['anything in a place that the log does not have', { topics: [null, null, null] }, true],
  ])('%s', (_, filter, expected) => expect(isTold(filter, log)).toBe(expected))
})
