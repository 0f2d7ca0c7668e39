import { expect, test, vi } from 'vitest'
import type { Plan } from './faults.ts'
import { runWorld } from './world.ts'

// The planted defect: `checkSegment` of core, which SDK, gateway and storage nodes all call, finds everything right.
const trust = vi.hoisted(() => ({ isBlind: false }))
vi.mock('../packages/core/src/flow/segmentProof.ts', async (original) => {
  const real = await original<typeof import('../packages/core/src/flow/segmentProof.ts')>()
  const checkSegment: typeof real.checkSegment = (file, segment, root) => {
    if (!trust.isBlind) real.checkSegment(file, segment, root)
  }
  return { ...real, checkSegment }
})

/** Readers meet the liar in most of these, not in all. */
const SEEDS = [3, 4, 5, 6, 7, 8]
const oneLies = (plan: Plan): Plan => ({
  ...plan,
  liar: 0,
  faults: plan.faults.filter(({ kind }) => kind !== 'rot' && kind !== 'wipe'),
})

test('the simulator catches: trust the peer', async () => {
  for (const seed of SEEDS) {
    trust.isBlind = true
    const { violations } = await runWorld({ seed, replan: oneLies })
    if (!violations.some((line) => line.startsWith('wrong bytes: '))) continue
    trust.isBlind = false
    expect((await runWorld({ seed, replan: oneLies })).violations).toEqual([])
    return
  }
  expect.fail('nobody noticed')
})
