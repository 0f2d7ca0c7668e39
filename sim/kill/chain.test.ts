import { expect, test } from 'vitest'
import { killRun } from '../../packages/chain/test/killRun.ts'
import { temporaryDirectory } from '../../packages/chain/test/localChain.ts'

// `node scripts/test.mjs kill-chain`: the long form of packages/chain/src/anvil/anvilEngine.kill.test.ts.

test.each([1, 2])(
  'twelve lives of a chain under load, each ended by kill -9 (seed %i)',
  async (seed) => {
    const directory = await temporaryDirectory()
    const { receipts, heads, kinds } = await killRun(directory.path, { seed, rounds: 12 })
    expect(receipts).toBeGreaterThan(50)
    expect(heads).toBeGreaterThan(10)
    expect(kinds.size).toBe(5)
    expect([...kinds.values()].reduce((sum, count) => sum + count, 0)).toBe(12)
    await directory[Symbol.asyncDispose]()
  },
  600_000,
)
