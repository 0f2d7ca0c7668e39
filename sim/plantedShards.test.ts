import { expect, test, vi } from 'vitest'
import type { Plan, PlannedLoss } from './faults.ts'
import { ackBeforeSync, everythingStops, type Planted } from './planted.ts'
import { runWorld } from './world.ts'

// Defects of erasure coding, each in place of one function of the code under test, each caught in a world that holds without it.
type Defect =
  | 'countUnprovenParity'
  | 'yieldUnproven'
  | 'neverRepair'
  | 'neverRepairAndAskMembersAlone'
  | 'repairOnlyWhatIsAsked'
  | 'believeTheReceipt'
const planted = vi.hoisted(() => ({ defect: undefined as string | undefined }))

vi.mock('../packages/core/src/erasure/provenParity.ts', async (original) => {
  const real = await original<typeof import('../packages/core/src/erasure/provenParity.ts')>()
  const proveParity: typeof real.proveParity = (layout, claims, known) => {
    const proof = real.proveParity(layout, claims, known)
    if (planted.defect !== 'countUnprovenParity' && planted.defect !== 'believeTheReceipt') return proof
    const counted = claims.map(({ slots }) => slots)
    const proven = [...new Set(counted.flat())].filter((slot) => slot >= layout.code.k).sort((a, b) => a - b)
    return { ...proof, counted, proven, unproven: [] }
  }
  return { ...real, proveParity }
})
vi.mock('../packages/core/src/flow/partialTree.ts', async (original) => {
  const real = await original<typeof import('../packages/core/src/flow/partialTree.ts')>()
  const partialTreeOf: typeof real.partialTreeOf = (file) => {
    const tree = real.partialTreeOf(file)
    return planted.defect === 'yieldUnproven' ? { ...tree, confirm: () => ({ kind: 'right' }) } : tree
  }
  return { ...real, partialTreeOf }
})
vi.mock('../packages/node/src/sync/fetchShards.ts', async (original) => {
  const real = await original<typeof import('../packages/node/src/sync/fetchShards.ts')>()
  const fetchShards: typeof real.fetchShards = async (...args) =>
    planted.defect?.startsWith('neverRepair') === true ? 'lacking' : real.fetchShards(...args)
  return { ...real, fetchShards }
})
vi.mock('../packages/sdk/src/draining.ts', async (original) => {
  const real = await original<typeof import('../packages/sdk/src/draining.ts')>()
  const drainingContacts: typeof real.drainingContacts = async (...args) =>
    planted.defect === 'neverRepairAndAskMembersAlone' ? [] : real.drainingContacts(...args)
  return { ...real, drainingContacts }
})
vi.mock('../packages/node/src/erasure/fingerprints.ts', async (original) => {
  const real = await original<typeof import('../packages/node/src/erasure/fingerprints.ts')>()
  const createFingerprints: typeof real.createFingerprints = (deps) => {
    const honest = real.createFingerprints(deps)
    const agree: typeof honest.agree = (...args) =>
      planted.defect === 'believeTheReceipt' ? Promise.resolve(true) : honest.agree(...args)
    return { ...honest, agree }
  }
  return { ...real, createFingerprints }
})
vi.mock('../packages/node/src/sync/planSync.ts', async (original) => {
  const real = await original<typeof import('../packages/node/src/sync/planSync.ts')>()
  const planSync: typeof real.planSync = (state) => {
    if (planted.defect !== 'repairOnlyWhatIsAsked') return real.planSync(state)
    return real.planSync({ ...state, missing: [...state.missing].filter(({ why }) => why === 'asked') })
  }
  return { ...real, planSync }
})

/** One object in two stripes on five nodes, whose owner comes when nothing fails. */
const isCalm = (plan: Plan): Plan => ({
  ...plan,
  nodeCount: 5,
  domains: [],
  spareCount: 2,
  ownClients: 1,
  liar: undefined,
  lies: 'answers',
  gatewayLies: false,
  faultMs: 10_000,
  net: { loss: 0, duplication: 0, delay: 0, cut: 0, corruption: 0 },
  faults: [],
  objects: [
    {
      client: 0,
      kind: 'own',
      sizeBytes: 700_000,
      twinOf: undefined,
      until: 'durable',
      code: { k: 2, m: 2 },
      how: { batch: true, early: false, bySeq: true },
      pauseMs: 100,
    },
  ],
  attacks: [],
  losses: [],
})
const gone: PlannedLoss = { machines: [0, 1], how: 'gone', joining: [6, 7], faults: [], faultMs: 1_000 }
const holdersGo = (plan: Plan): Plan => ({ ...isCalm(plan), losses: [gone] })
/** A stranger comes first, and then each pair of holders goes once. */
const isAttacked = (plan: Plan): Plan => {
  const { objects, ...calm } = isCalm(plan)
  const pairs = [
    [0, 1],
    [2, 3],
    [1, 4],
  ]
  const losses = pairs.map((machines): PlannedLoss => ({
    machines,
    how: 'emptied',
    joining: [],
    faults: [],
    faultMs: 1_000,
  }))
  return { ...calm, objects, attacks: [{ object: 0, code: objects[0]!.code! }], losses }
}
/** Homes of copies have made them by the time when the owner comes, and have given them up when the first nodes go. */
const isAttackedLongBefore = (plan: Plan): Plan => {
  const attacked = isAttacked(plan)
  return { ...attacked, faultMs: 200_000, objects: attacked.objects.map((one) => ({ ...one, pauseMs: 60_000 })) }
}
const oneLies = (plan: Plan): Plan => ({ ...isAttacked(plan), liar: 4, losses: isAttacked(plan).losses.slice(0, 1) })

/** Who joins signs for slots that it does not have; then two of the others lose what they have, and whoever had such a slot before must
 *  still have it. */
const joiningLies = (plan: Plan): Plan => {
  const joins: PlannedLoss = { machines: [0], how: 'away', joining: [6], faults: [], faultMs: 150_000 }
  const emptied: PlannedLoss = { machines: [1, 2], how: 'emptied', joining: [], faults: [], faultMs: 1_000 }
  return { ...isCalm(plan), spareCount: 1, liar: 6, lies: 'madeUp', losses: [joins, emptied] }
}

/** Of three holders one drains and another loses what it has: two of three are needed. */
const oneDrains = (plan: Plan): Plan => {
  const { objects, faultMs, ...calm } = isCalm(plan)
  return {
    ...calm,
    nodeCount: 4,
    faultMs,
    objects: objects.map((one) => ({ ...one, code: { k: 2, m: 1 } })),
    faults: [
      { atMs: faultMs - 200, kind: 'drain', machine: 0 },
      { atMs: faultMs - 100, kind: 'wipe', machine: 1, downMs: 50 },
    ],
  }
}

async function violationsOf(
  seed: number,
  replan: (plan: Plan) => Plan,
  how: { readonly defect?: Defect; readonly planted?: Planted } = {},
): Promise<readonly string[]> {
  planted.defect = how.defect
  const { violations } = await runWorld({ seed, world: 'codes', replan, planted: how.planted })
  planted.defect = undefined
  return violations
}

/** In one of these worlds it is seen, and that world holds without it. */
async function isCaught(
  seeds: readonly number[],
  replan: (plan: Plan) => Plan,
  how: { readonly defect?: Defect; readonly planted?: Planted },
  what: RegExp,
): Promise<void> {
  for (const seed of seeds) {
    const found = await violationsOf(seed, replan, how)
    if (!found.some((line) => what.test(line))) continue
    expect(await violationsOf(seed, replan)).toEqual([])
    return
  }
  expect.fail('nobody noticed')
}

test('a stranger comes first with a bogus parity, the owner uploads, copies are given up, any two nodes die: it reads back', async () => {
  const releases: string[] = []
  const tell = (line: string): void => void (line.includes('release.released') && releases.push(line))
  expect((await runWorld({ seed: 1, world: 'codes', replan: isAttackedLongBefore, tell })).violations).toEqual([])
  expect(releases.length).toBeGreaterThan(0)
})

test('the simulator catches: parity that nobody has proven counts', () =>
  isCaught([1, 2, 3], isAttacked, { defect: 'countUnprovenParity' }, /^(lost|liveness|certificate): /))

test('the simulator catches: a computed shard is yielded without a proof against the root', () =>
  isCaught([1, 2, 3, 4, 5, 6], oneLies, { defect: 'yieldUnproven' }, /^wrong bytes: /))

test('the simulator catches: nobody repairs', () =>
  isCaught([1], holdersGo, { defect: 'neverRepair' }, /^liveness: not at full strength/))

test('the simulator catches: only what an operator asks for is repaired', () =>
  isCaught([1], holdersGo, { defect: 'repairOnlyWhatIsAsked' }, /^liveness: not at full strength/))

test('the simulator catches: shards are signed for before they are synced', () => {
  const powerFails = (plan: Plan): Plan => everythingStops('power')(isCalm(plan))
  return isCaught([1, 2, 3], powerFails, { planted: ackBeforeSync() }, /^(lost|liveness|wrong bytes): /)
})

test('the simulator catches: a receipt is believed without its fingerprints', () =>
  isCaught([1], joiningLies, { defect: 'believeTheReceipt' }, /^lost: /))

test('the simulator catches: members alone are asked for what only a node that drains has', async () => {
  const isLost = (line: string): boolean => /^lost: .* while one drains/.test(line)
  for (const seed of [1, 2, 3, 4, 5, 6]) {
    if (!(await violationsOf(seed, oneDrains, { defect: 'neverRepairAndAskMembersAlone' })).some(isLost)) continue
    // Nobody else ever gets it.
    const found = await violationsOf(seed, oneDrains, { defect: 'neverRepair' })
    expect(found).toEqual([expect.stringMatching(/^liveness: not at full strength/)])
    expect(await violationsOf(seed, oneDrains)).toEqual([])
    return
  }
  expect.fail('nobody noticed')
})
