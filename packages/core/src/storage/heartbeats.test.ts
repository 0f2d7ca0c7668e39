import { expect, test } from 'vitest'
import { areFundsLow } from './heartbeats.ts'

test('less than a day of heartbeats is little; what nobody knows is not', () => {
  expect([0, 5_759, 5_760, null, undefined].map(areFundsLow)).toEqual([true, true, false, false, false])
})
