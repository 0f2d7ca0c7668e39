import { expect, test, vi } from 'vitest'
import type { Plan } from './faults.ts'
import { runWorld } from './world.ts'

// The planted defect: the log goes back with the chain, but what was written down about the entries that are gone stays: that
// they are whole, signed, delivered. Their numbers soon belong to others.
const memory = vi.hoisted(() => ({ isBad: false }))
vi.mock('../packages/node/src/flow/rollBack.ts', async (original) => {
  const real = await original<typeof import('../packages/node/src/flow/rollBack.ts')>()
  const planRollBack: typeof real.planRollBack = (...args) => {
    const plan = real.planRollBack(...args)
    return memory.isBad ? { ...plan, changes: plan.changes.filter(({ value }) => value !== undefined) } : plan
  }
  return { ...real, planRollBack }
})

/** Entries of several users close together, and a chain that takes them back again and again. */
const isUnsteady = (plan: Plan): Plan => ({
  ...plan,
  blockMs: 20,
  finalityDepth: 20,
  objects: plan.objects.map((object) => ({ ...object, until: 'durable', pauseMs: object.pauseMs / 4 })),
  faults: [0.2, 0.4, 0.6, 0.8, 0.99].map((share) => ({ kind: 'reorg', atMs: plan.faultMs * share, depth: 20 })),
})
/** In most of these a reorganisation gives an acknowledged entry another number, not in all. */
const SEEDS = [1, 2, 3, 4, 5, 6]

test('the simulator catches: forget the reorg', async () => {
  for (const seed of SEEDS) {
    memory.isBad = true
    const { violations } = await runWorld({ seed, replan: isUnsteady, calmMsMax: 150_000 })
    if (violations.length === 0) continue
    memory.isBad = false
    expect((await runWorld({ seed, replan: isUnsteady })).violations).toEqual([])
    return
  }
  expect.fail('nobody noticed')
})
