import { EventEmitter } from 'node:events'
import { createSimChain, isSubmit } from './chain.ts'
import { createChance } from './chance.ts'
import { booksViolations, createChecker, type Checker } from './checkers.ts'
import { createVirtualTime } from './clock.ts'
import { codedPlanOf } from './codedPlan.ts'
import { planOf, type Plan } from './faults.ts'
import { createSimNet } from './net.ts'
import type { Planted } from './planted.ts'
import { useLightPlatform } from './platform.ts'
import { createTrace } from './trace.ts'
import { parityOfGateway } from './world/acks.ts'
import { audit } from './world/audit.ts'
import { startChain } from './world/chain.ts'
import { endFaults, scheduleFaults } from './world/inject.ts'
import { makeMachines, stakesOf } from './world/machines.ts'
import { comeToFullStrength, lose, readAroundDrain } from './world/losses.ts'
import { FUNDS_WEI, machinesOf, type World } from './world/state.ts'
import { attack } from './world/stranger.ts'
import { makeUsers, type User } from './world/users.ts'

/**
 * A whole network in one process, from one number: the storage nodes, the gateway and the users of the SDK are the code that
 * runs in life; time, chance, disks, the network and the chain are simulated, and as bad as the seed says. First everything
 * goes wrong; then nothing does, and all that was promised must hold within bounded time.
 */
export type WorldOptions = {
  readonly seed: number
  /** What protects most of its objects; copies by default. */
  readonly world?: 'copies' | 'codes' | undefined
  /** Lines for a reader. */
  readonly tell?: ((line: string) => void) | undefined
  readonly planted?: Planted | undefined
  readonly reorgDepthMax?: number | undefined
  /** Changes the plan of the seed, for tests that need one fault for sure. */
  readonly replan?: ((plan: Plan) => Plan) | undefined
  /** How long after the faults everything must be done; tests of defects need not wait as long. */
  readonly calmMsMax?: number | undefined
}
export type WorldResult = {
  readonly seed: number
  /** Empty when everything held. */
  readonly violations: readonly string[]
  readonly hash: string
  readonly eventCount: number
  readonly virtualMs: number
  readonly acks: number
  readonly crashes: number
  readonly faults: number
}

/** All nodes are members and follow the chain before anybody uploads. */
const SETUP_MS_MAX = 60_000
/** Once all faults are over: what is under way ends, and what failed is done again. */
const CALM_MS_MAX = 600_000
/** A process that is told to stop: its server's grace, and what its store has begun. */
const STOP_MS_MAX = 60_000

let worldCount = 0

// A process of ours may wait for many things at once under one signal; here many processes are one.
EventEmitter.defaultMaxListeners = 1_000_000
useLightPlatform()

export async function runWorld(options: WorldOptions): Promise<WorldResult> {
  const { seed, planted, calmMsMax = CALM_MS_MAX } = options
  const worldId = ++worldCount
  const drawPlan = options.world === 'codes' ? codedPlanOf : planOf
  const drawn = drawPlan(seed, { reorgDepthMax: options.reorgDepthMax ?? 0 })
  const plan = options.replan?.(drawn) ?? drawn
  const time = createVirtualTime()
  const trace = createTrace(time.nowMs, options.tell)
  const net = createSimNet({ time, trace, chance: createChance(seed ^ 0x5eed) })
  const chance = createChance(seed ^ 0x3141)
  const chain = createSimChain({ finalityDepth: plan.finalityDepth, graceSeconds: plan.graceSeconds })
  const checker = createChecker(trace)
  const world: World = {
    worldId,
    plan,
    seed,
    time,
    trace,
    net,
    chain,
    checker,
    planted,
    chainState: { isAway: false, flakyShare: 0 },
    chance,
    processes: [],
    processCount: 0,
    crashes: 0,
    joinedCount: 0,
    reorgs: 0,
    damaged: new Set(plan.liar === undefined ? [] : [plan.liar]),
    partitions: new Set(),
    faultsEndMs: 0,
    machines: [],
    absent: new Set(Array.from({ length: plan.spareCount }, (_, i) => plan.nodeCount + 1 + i)),
  }
  trace.say('plan', plan)
  const stopCatching = catchStrays(checker)
  try {
    startChain(world)
    world.machines = makeMachines(world)
    for (const machine of machinesOf(world)) machine.start()
    const isReady = (): boolean =>
      machinesOf(world).every((machine) => machine.isUp()) && chain.books().stakesWei === stakesOf(plan.nodeCount)
    if (!(await time.run(isReady, SETUP_MS_MAX))) checker.violation('setup', 'the network did not come up')
    await time.run(() => false, 2 * plan.headPollMs + 1_000)

    for (const planned of plan.attacks) await attack(world, planned)
    const users = makeUsers(world)
    Object.assign(net.faults, plan.net)
    scheduleFaults(world, plan, users)
    for (const user of users) user.start()
    await time.run(() => checker.isBroken(), plan.faultMs)

    endFaults(world, users)
    const isOver = (): boolean => checker.isBroken() || users.every((user) => user.isDone())
    if (!(await time.run(isOver, calmMsMax))) {
      const open = users.flatMap((user) => user.open())
      checker.violation('liveness', `not done ${calmMsMax / 1000} s after the last fault: ${open.join('; ')}`)
    }
    const isWhole = (): boolean => machinesOf(world).every((machine) => machine.isUp())
    if (!(await time.run(isWhole, SETUP_MS_MAX))) checker.violation('liveness', 'a machine does not come back')
    if (plan.faults.some(({ kind }) => kind === 'drain') && !checker.isBroken()) await readAroundDrain(world)
    // What was destroyed on purpose so far is made good before more is.
    if (plan.losses.length > 0 && !checker.isBroken()) await comeToFullStrength(world)
    for (const loss of plan.losses) {
      if (checker.isBroken()) break
      await lose(world, loss, users)
    }
    if (!checker.isBroken()) await audit(world)
    if (!checker.isBroken()) await stopAll(world)
    for (const line of booksViolations(chain, bookFacts(world, users))) checker.violation('books', line)
  } finally {
    for (const process of world.processes) {
      process.die()
      for (const signal of process.signals) signal.abort(new Error('the world is over'))
    }
    await time.run(() => true, 0)
    stopCatching()
  }
  return {
    seed,
    violations: checker.violations,
    hash: trace.hash(),
    eventCount: trace.count,
    virtualMs: Math.round(time.nowMs()),
    acks: checker.acks.length,
    crashes: world.crashes,
    faults: plan.faults.length,
  }
}

async function stopAll(world: World): Promise<void> {
  const { time, checker } = world
  const machines = machinesOf(world)
  const open = new Set(machines.map(({ name }) => name))
  for (const machine of machines)
    machine.stop().then(
      () => open.delete(machine.name),
      (error: unknown) => checker.bug(`${machine.name} stops`, error),
    )
  if (!(await time.run(() => open.size === 0, STOP_MS_MAX)))
    checker.violation('waits for ever', `${[...open].join(', ')} did not stop within ${STOP_MS_MAX / 1000} s`)
}

function bookFacts(world: World, users: readonly User[]) {
  // An object under a code is two entries.
  const entriesOf = (at: number): number => (world.plan.objects[at]!.code === undefined ? 1 : 2)
  const isCoded = world.plan.objects.some(({ code }) => code !== undefined)
  return {
    users: users.map(({ name, address }) => ({ name, address })),
    fundsWei: FUNDS_WEI,
    stakesWei: stakesOf(world.plan.nodeCount + world.joinedCount),
    entryCount: world.chain.logs().filter(isSubmit).length,
    // Once for each file of official clients, however often the gateway dies. One that has lost its index does not know what it has
    // paid for and is not in a block yet.
    paidByGatewayMax:
      world.plan.objects.filter(({ kind }) => kind === 'official').length + lostIndexes(world, world.plan.nodeCount),
    paidByGateway: parityOfGateway(world.chain).length,
    triesMax:
      users.flatMap(({ tries }) => [...tries]).reduce((sum, [at, count]) => sum + count * entriesOf(at), 0) +
      world.crashes * (isCoded ? 2 : 1) +
      2 * world.plan.attacks.length +
      parityOfGateway(world.chain).length,
  }
}

function lostIndexes({ plan }: World, machine: number): number {
  const faults = [...plan.faults, ...(plan.losses ?? []).flatMap((loss) => loss.faults)]
  return faults.filter((fault) => fault.kind === 'loseIndex' && fault.machine === machine).length
}

/** What nobody catches is a defect of somebody. */
function catchStrays(checker: Checker): () => void {
  const onStray = (error: unknown): void => checker.bug('unhandled rejection', error)
  globalThis.process.on('unhandledRejection', onStray)
  return () => void globalThis.process.off('unhandledRejection', onStray)
}
