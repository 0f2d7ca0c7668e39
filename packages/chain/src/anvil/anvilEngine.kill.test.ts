import { expect, test } from 'vitest'
import { killRun } from '../../test/killRun.ts'
import { temporaryDirectory } from '../../test/localChain.ts'

test('kill -9 at random moments of a load, from a seed: every receipt stands and every head keeps its hash', async () => {
  const directory = await temporaryDirectory()
  const { receipts, heads, kinds } = await killRun(directory.path, { seed: 5, rounds: 5 })
  expect(kinds.size).toBeGreaterThan(2)
  expect(receipts).toBeGreaterThanOrEqual(12)
  expect(heads).toBeGreaterThan(0)
  await directory[Symbol.asyncDispose]()
}, 240_000)
