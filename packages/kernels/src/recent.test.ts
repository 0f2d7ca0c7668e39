import { expect, test } from 'vitest'
import { createRecent } from './recent.ts'

test('a value is made once while it is among the last that were asked for', () => {
  const made: string[] = []
  const recent = createRecent<string>(2)
  const get = (key: string): string => recent.get(key, () => (made.push(key), key.toUpperCase()))
  expect([get('a'), get('b'), get('a'), get('c'), get('a')]).toEqual(['A', 'B', 'A', 'C', 'A'])
  expect(made).toEqual(['a', 'b', 'c'])
  get('b')
  expect(made).toEqual(['a', 'b', 'c', 'b'])
  get('c')
  expect(made).toEqual(['a', 'b', 'c', 'b', 'c'])
})
