import { expect, test } from 'vitest'
import { runWorld } from '../world.ts'

/** One test for each seed; the name is the line that replays it. */
export function seedsHold(
  seeds: readonly number[],
  options: { readonly world: 'copies' | 'codes'; readonly reorgDepthMax: number },
): void {
  const { world, reorgDepthMax } = options
  const more = reorgDepthMax > 0 ? ` --reorgs ${reorgDepthMax}` : ''
  test.each(seeds)(`npm run sim -- --seed %i --world ${world}${more}`, async (seed) => {
    const { stackTraceLimit } = Error
    // Stacks cost a tenth of the time; a seed that fails is run again by itself.
    Error.stackTraceLimit = 0
    const { violations, acks } = await runWorld({ seed, world, reorgDepthMax })
    Error.stackTraceLimit = stackTraceLimit
    expect(violations).toEqual([])
    expect(acks).toBeGreaterThan(0)
  })
}

export const range = (from: number, to: number): readonly number[] =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i)
