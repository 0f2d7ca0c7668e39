import { execFile } from 'node:child_process'
import { resolve } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { runWorld } from './world.ts'

const top = resolve(import.meta.dirname, '..')
const SEED = 12

test.each(['copies', 'codes'] as const)(
  'one seed run twice in two processes gives the same trace: %s',
  async (world) => {
    const run = async (): Promise<string> => {
      const { stdout } = await promisify(execFile)(
        process.execPath,
        ['scripts/sim.mjs', '--seed', String(SEED), '--world', world],
        {
          cwd: top,
        },
      )
      return /^seed \d+ ([0-9a-f]{64})$/m.exec(stdout)![1]!
    }
    const first = await run()
    expect(await run()).toBe(first)
    // After another world in this process, and from sources that nobody bundled.
    const { hash: other } = await runWorld({ seed: SEED + 1, world })
    expect((await runWorld({ seed: SEED, world })).hash).toBe(first)
    expect(other).not.toBe(first)
  },
)
