import type { Hex } from '@weightless/core'
import { expect, test } from 'vitest'
import { createPool } from './pool.ts'

test('a pool gives back what it was given, in the order of arrival, until it is taken out', () => {
  const pool = createPool()
  pool.add('0x1', '0xaa')
  pool.add('0x2', '0xbb')
  pool.add('0x3', '0xcc')
  pool.remove('0x2')
  expect(pool.get('0x1')).toBe('0xaa')
  expect(pool.all()).toEqual([
    ['0x1', '0xaa'],
    ['0x3', '0xcc'],
  ])
})

test('a pool that is full forgets its oldest', () => {
  const pool = createPool()
  const raw: Hex = `0x${'00'.repeat(10 * 1024 ** 2)}`
  for (const hash of ['0x1', '0x2', '0x3', '0x4', '0x4'] as const) pool.add(hash, raw)
  expect(pool.all().map(([hash]) => hash)).toEqual(['0x2', '0x3', '0x4'])
})
