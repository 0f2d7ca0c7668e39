import { describe, expect, test } from 'vitest'
import { isShardConfig, parseShardConfig, selectCover } from './shards.ts'

const node = (shardId: number, numShard: number) => ({ url: `${shardId}/${numShard}`, config: { shardId, numShard } })
const urls = (nodes: readonly { url: string }[] | undefined) => nodes?.map(({ url }) => url)
const asListed = { shuffle: <T>(items: readonly T[]) => items }

describe('one cover', () => {
  test('the lowest bits of a segment name its shard: 0/2, 1/4 and 3/4 cover everything', () => {
    expect(urls(selectCover([node(0, 2), node(1, 4), node(3, 4)], 1, 'min'))).toEqual(['0/2', '1/4', '3/4'])
    expect(selectCover([node(0, 2), node(2, 4), node(3, 4)], 1, 'min')).toBeUndefined()
  })

  test('min takes few shards first, so one whole node is enough', () => {
    expect(urls(selectCover([node(1, 2), node(0, 2), node(0, 1)], 1, 'min'))).toEqual(['0/1'])
  })

  test('max takes many shards first', () => {
    const nodes = [node(0, 1), node(3, 4), node(1, 4), node(2, 4), node(0, 4)]
    expect(urls(selectCover(nodes, 1, 'max'))).toEqual(['0/4', '1/4', '2/4', '3/4'])
  })

  test('a number takes only nodes with that many shards', () => {
    const nodes = [node(0, 1), node(1, 2), node(0, 2)]
    expect(urls(selectCover(nodes, 1, 2))).toEqual(['1/2', '0/2'])
    expect(selectCover(nodes, 1, 4)).toBeUndefined()
  })

  test('a shuffle decides the order, and a node that adds nothing is passed over', () => {
    const nodes = [node(0, 4), node(0, 2), node(0, 4), node(1, 2)]
    expect(urls(selectCover(nodes, 1, asListed))).toEqual(['0/4', '0/2', '1/2'])
  })
})

test('r covers need every segment r times', () => {
  const nodes = [node(0, 1), node(0, 2), node(1, 2), node(0, 4), node(2, 4)]
  expect(urls(selectCover(nodes, 2, 'min'))).toEqual(['0/1', '0/2', '1/2'])
  expect(selectCover(nodes, 3, 'min')).toBeUndefined()
  expect(urls(selectCover([...nodes, node(1, 2)], 3, 'min'))).toEqual(['0/1', '0/2', '1/2', '1/2', '0/4', '2/4'])
})

test('copies of a whole node count for shards that come later', () => {
  expect(urls(selectCover([node(0, 1), node(0, 2), node(1, 2)], 2, asListed))).toEqual(['0/1', '0/2', '1/2'])
})

test('nothing is selected for no cover, half a cover, or from nobody', () => {
  expect(selectCover([node(0, 1)], 0, 'min')).toBeUndefined()
  expect(selectCover([node(0, 1)], 0.5, 'min')).toBeUndefined()
  expect(selectCover([node(0, 1)], -1, 'min')).toBeUndefined()
  expect(selectCover([], 1, 'min')).toBeUndefined()
})

test('nodes with an impossible configuration are skipped', () => {
  expect(urls(selectCover([node(0, 3), node(2, 2), node(-1, 1), node(0, 0), node(0, 1)], 1, 'max'))).toEqual(['0/1'])
})

test('the list passed in stays as it was', () => {
  const nodes = Object.freeze([node(1, 2), node(0, 2)])
  expect(urls(selectCover(nodes, 1, 'min'))).toEqual(['0/2', '1/2'])
})

describe('a shard configuration from outside', () => {
  test('is a power of two and an id below it', () => {
    expect(parseShardConfig({ shardId: 3, numShard: 4, extra: 1 })).toEqual({ shardId: 3, numShard: 4 })
    expect(isShardConfig({ shardId: 65_535, numShard: 65_536 })).toBe(true)
  })

  test.each([
    null,
    'x',
    {},
    { shardId: 0 },
    { shardId: '0', numShard: 1 },
    { shardId: 0, numShard: '1' },
    { shardId: 0, numShard: 3 },
    { shardId: 1, numShard: 1 },
    { shardId: -1, numShard: 2 },
    { shardId: 0.5, numShard: 2 },
    { shardId: 0, numShard: 0 },
    { shardId: 0, numShard: 1.5 },
    { shardId: 0, numShard: 131_072 },
  ])('%j: refused', (value) => {
    expect(() => parseShardConfig(value)).toThrow(expect.objectContaining({ code: 'SHARD_CONFIG_INVALID' }))
  })
})
