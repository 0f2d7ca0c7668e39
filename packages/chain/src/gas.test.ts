import { expect, test } from 'vitest'
import { withMargin } from './gas.ts'

const limit = { blockGasLimit: 30_000_000n }

test.each([
  ['a small call gets 300 000 more', 100_000n, 400_000n],
  ['a large call gets 30 % more', 2_000_000n, 2_600_000n],
  ['at a million both are the same', 1_000_000n, 1_300_000n],
  ['never above what a block holds', 29_000_000n, 30_000_000n],
  ['never below the estimate', 31_000_000n, 31_000_000n],
])('%s', (_, estimate, expected) => {
  expect(withMargin(estimate, limit)).toBe(expected)
})
