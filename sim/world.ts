import { addressOfPrivateKey, isFailure, type Address, type Entry, type Root } from '@weightless/core'
import { EventEmitter } from 'node:events'
import { createStorageNodeClient, decodeSubmitLog, type Client } from '@weightless/sdk'
import { createSimChain, isSubmit, STAKE_PER_SEGMENT_WEI, type SimChain } from './chain.ts'
import { createChance } from './chance.ts'
import { booksViolations, createChecker, type Ack, type Checker } from './checkers.ts'
import {
  codeOf,
  entryAgain,
  officialDownload,
  officialUpload,
  ownDownload,
  OWN_TIMEOUT_MS,
  ownUpload,
  untilFollowed,
  userOf,
  WrongAnswer,
} from './clients.ts'
import { createVirtualTime, type VirtualTime } from './clock.ts'
import { content } from './fakes/network.ts'
import { planOf, type Plan, type PlannedFault, type PlannedObject } from './faults.ts'
import { lying } from './liar.ts'
import { createMachine, keyOf, type SimMachine } from './machine.ts'
import { createSimNet, type SimNet } from './net.ts'
import type { Planted } from './planted.ts'
import { createProcess, WORLD_EPOCH_MS, type Process } from './process.ts'
import { createTrace, type Trace } from './trace.ts'

/**
 * A whole network in one process, from one number: the storage nodes, the gateway and the users of the SDK are the code that
 * runs in life; time, chance, disks, the network and the chain are simulated, and as bad as the seed says. First everything
 * goes wrong; then nothing does, and all that was promised must hold within bounded time.
 */
export type WorldOptions = {
  readonly seed: number
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

export const REPLICAS = 3
const CAPACITY_BYTES = 1024 ** 3
/** What a user has to begin with. */
const FUNDS_WEI = 10n ** 24n
/** All nodes are members and follow the chain before anybody uploads. */
const SETUP_MS_MAX = 60_000
/** Once all faults are over: what is under way ends, and what failed is done again. */
const CALM_MS_MAX = 600_000
/** A process that has just started reads the chain first, and may wait for an answer that a fault took, for as long as it waits for
 *  any (30 s). */
const FOLLOW_MS_MAX = 60_000
/** Reading back everything that was acknowledged. */
const AUDIT_MS_MAX = 300_000
/** A process that is told to stop: its server's grace, and what its store has begun. */
const STOP_MS_MAX = 60_000
/** Blocks that nobody asked for. */
const IDLE_BLOCK_MS = 5_000
const RETRY_MS = 2_000
/** An upload is its deadline and a word to the gateway; official clients have a deadline for each of their parts. */
const OPERATION_MS_MAX = { own: OWN_TIMEOUT_MS + 10_000, official: 5 * OWN_TIMEOUT_MS } as const

let worldCount = 0

// A process of ours may wait for many things at once under one signal; here many processes are one.
EventEmitter.defaultMaxListeners = 1_000_000

export async function runWorld(options: WorldOptions): Promise<WorldResult> {
  const { seed, planted, calmMsMax = CALM_MS_MAX } = options
  const worldId = ++worldCount
  const drawn = planOf(seed, { reorgDepthMax: options.reorgDepthMax ?? 0 })
  const plan = options.replan?.(drawn) ?? drawn
  const time = createVirtualTime()
  const trace = createTrace(time.nowMs, options.tell)
  const net = createSimNet({ time, trace, chance: createChance(seed ^ 0x5eed) })
  const chance = createChance(seed ^ 0x3141)
  const chain = createSimChain({ finalityDepth: plan.finalityDepth })
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
    reorgs: 0,
    damaged: new Set(plan.liar === undefined ? [] : [plan.liar]),
    partitions: new Set(),
    faultsFromMs: 0,
  }
  trace.say('plan', plan)
  const stopCatching = catchStrays(checker)
  try {
    startChain(world)
    const machines = makeMachines(world)
    for (const machine of machines) machine.start()
    const isReady = (): boolean =>
      machines.every((machine) => machine.isUp()) && chain.books().stakesWei === stakesOf(plan.nodeCount)
    if (!(await time.run(isReady, SETUP_MS_MAX))) checker.violation('setup', 'the network did not come up')
    await time.run(() => false, 2 * plan.headPollMs + 1_000)

    const users = makeUsers(world)
    Object.assign(net.faults, plan.net)
    scheduleFaults(world, machines, users)
    for (const user of users) user.start()
    await time.run(() => checker.isBroken(), plan.faultMs)

    endFaults(world, machines, users)
    const isOver = (): boolean => checker.isBroken() || users.every((user) => user.isDone())
    if (!(await time.run(isOver, calmMsMax))) {
      const open = users.flatMap((user) => user.open())
      checker.violation('liveness', `not done ${calmMsMax / 1000} s after the last fault: ${open.join('; ')}`)
    }
    const isWhole = (): boolean => machines.every((machine) => machine.isUp())
    if (!(await time.run(isWhole, SETUP_MS_MAX))) checker.violation('liveness', 'a machine does not come back')
    if (!checker.isBroken()) await audit(world, machines)
    if (!checker.isBroken()) await stopAll(world, machines)
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

type World = {
  readonly worldId: number
  readonly plan: Plan
  readonly seed: number
  readonly time: VirtualTime
  readonly trace: Trace
  readonly net: SimNet
  readonly chain: SimChain
  readonly checker: Checker
  readonly planted: Planted | undefined
  readonly chainState: { isAway: boolean; flakyShare: number }
  readonly chance: ReturnType<typeof createChance>
  readonly processes: Process[]
  processCount: number
  crashes: number
  reorgs: number
  /** Storage nodes whose copies were destroyed on purpose. */
  readonly damaged: Set<number>
  /** Those that hold now. */
  readonly partitions: Set<ReadonlySet<string>>
  faultsFromMs: number
}

const CHAIN = 'chain'
const GATEWAY_URL = 'http://gateway.sim'
const nodeUrl = (id: number): string => `http://node-${id}.sim`
const stakesOf = (nodeCount: number): bigint =>
  BigInt(nodeCount) * BigInt(CAPACITY_BYTES / 262_144) * STAKE_PER_SEGMENT_WEI

function startChain({ chain, time, plan, chainState, trace }: World): void {
  let isMining = false
  const seconds = (): number => Math.floor((WORLD_EPOCH_MS + time.nowMs()) / 1000)
  chain.onTransaction = () => {
    if (isMining) return
    isMining = true
    time.after(plan.blockMs, () => {
      isMining = false
      chain.mine(seconds())
      trace.add(CHAIN, 'mined', chain.head)
      if (chain.waitingCount > 0) chain.onTransaction()
    })
  }
  const tick = (): void => {
    if (!chainState.isAway) chain.mine(seconds())
    time.after(IDLE_BLOCK_MS, tick)
  }
  time.after(IDLE_BLOCK_MS, tick)
}

/** The chain at an address of this process alone: a process keeps its nonces by that address, and forgets them when it dies. */
function chainFor(world: World, process: Process, wallet: Address): string {
  const { net, chain, chainState, chance, trace } = world
  world.processCount += 1
  const origin = `http://${CHAIN}-${world.worldId}-${world.processCount}.sim`
  const end = net.listen(
    origin,
    async (request) => {
      if (chainState.isAway) throw new Error('the endpoint is away')
      if (chainState.flakyShare > 0 && chance.next() < chainState.flakyShare) {
        trace.add(CHAIN, 'is flaky')
        const status = [429, 500, 502, 503][chance.below(4)]!
        return new Response('try again', { status })
      }
      return chain.handle(request, wallet)
    },
    undefined,
  )
  process.onDeath(end)
  return `${origin}/`
}

function makeMachines(world: World): readonly SimMachine[] {
  const { plan, time, net, trace, chain, seed, checker, planted } = world
  const shared = {
    time,
    trace,

    onBug: checker.bug,
    onStart: (process: Process) => void world.processes.push(process),
    planted,
  }
  const chainConfig = (rpcUrl: string) => ({
    rpcUrl,
    wsUrl: undefined,
    chainId: chain.chainId,
    flow: chain.flow,
    registry: chain.registry,
    startBlock: 0,
    confirmations: 0,
    logPageBlocks: 1000,
    pollMs: plan.headPollMs,
    rpcTimeoutMs: undefined,
  })
  const rest = { log: { level: 'info' }, ignoredKeys: [] } as const
  const machines = Array.from({ length: plan.nodeCount }, (_, id) => {
    const key = keyOf(id)
    const wallet = addressOfPrivateKey(key)
    chain.fund(wallet, FUNDS_WEI)
    return createMachine(
      {
        name: `node-${id}`,
        url: nodeUrl(id),
        privateKey: key,
        config: (rpcUrl) => ({
          chain: chainConfig(rpcUrl),
          storage: {
            listen: { host: `node-${id}.sim`, port: 80 },
            dataDir: '/data',
            keyFile: '/key',
            membership: { source: 'registry' },
            endpoint: nodeUrl(id),
            domain: undefined,
            capacityBytes: CAPACITY_BYTES,
            gatewayUrl: GATEWAY_URL,
            stakeWei: undefined,
            adminListen: undefined,
          },
          gateway: undefined,
          ...rest,
        }),
      },
      {
        ...shared,
        chainFor: (process) => chainFor(world, process, wallet),
        seed: seed * 64 + id * 1_000_003,
        net: id === plan.liar ? lying(net, nodeUrl(id), seed, trace) : net,
      },
    )
  })
  const gateway = createMachine(
    {
      name: 'gateway',
      url: GATEWAY_URL,
      privateKey: keyOf(99),
      config: (rpcUrl) => ({
        chain: chainConfig(rpcUrl),
        storage: undefined,
        gateway: {
          listen: { host: 'gateway.sim', port: 80 },
          dataDir: '/data',
          policy: 'replicate',
          replicas: REPLICAS,
          spoolBytesMax: CAPACITY_BYTES,
          publicUrl: GATEWAY_URL,
          staticMembers: undefined,
        },
        ...rest,
      }),
    },
    { ...shared, chainFor: (process) => chainFor(world, process, chain.flow), seed: seed * 64 + 63 * 1_000_003, net },
  )
  return [...machines, gateway]
}

type User = {
  readonly name: string
  readonly address: Address
  start(): void
  crash(): void
  dieAfter(steps: number): void
  isDone(): boolean
  /** What is not done. */
  open(): readonly string[]
  /** From now on it reads no more than it must. */
  calmDown(): void
  readonly tries: ReadonlyMap<number, number>
}

/** The bytes of an object, from the seed; twins share them up to their ends. */
export function bytesOf(seed: number, objects: readonly PlannedObject[], id: number): Uint8Array {
  const { sizeBytes, twinOf } = objects[id]!
  const longest = objects.reduce(
    (most, other, i) =>
      i === (twinOf ?? id) || other.twinOf === (twinOf ?? id) ? Math.max(most, other.sizeBytes) : most,
    0,
  )
  const bytes = content(longest, seed * 31 + (twinOf ?? id))
  // Zeros at the end of twins: so they may share a root and differ in size.
  if (twinOf !== undefined || objects.some((other) => other.twinOf === id)) bytes.fill(0, Math.max(1, longest - 4))
  return bytes.subarray(0, sizeBytes)
}

function makeUsers(world: World): readonly User[] {
  const { plan } = world
  const own = Array.from({ length: plan.ownClients }, (_, i) => makeUser(world, 'own', i))
  const official = Array.from({ length: plan.officialClients }, (_, i) => makeUser(world, 'official', i))
  return [...own, ...official]
}

function makeUser(world: World, kind: 'own' | 'official', number: number): User {
  const { plan, seed, time, trace, chain, net, checker, planted } = world
  const name = `${kind}-${number}`
  const id = (kind === 'own' ? 200 : 300) + number
  const key = new Uint8Array(32).fill(9)
  key[30] = id >> 8
  key[31] = id & 255
  const address = addressOfPrivateKey(key)
  chain.fund(address, FUNDS_WEI)
  const chance = createChance(seed * 128 + id)
  const todo = plan.objects
    .map((object, at) => ({ object, at }))
    .filter(({ object }) => object.kind === kind && object.client === number)
  const paid = new Map<number, Entry>()
  const tries = new Map<number, number>()
  const running = new Set<string>()
  let doneCount = 0
  let process: Process | undefined
  let isCalm = false

  function start(): void {
    const mine = createProcess(name, {
      time,
      trace,
      onStart: (started) => void world.processes.push(started),
      chance: createChance(seed * 7 + id + 1_000 * ++world.processCount),
    })
    process = mine
    running.clear()
    const client = userOf(mine, {
      rpcUrl: chainFor(world, mine, address),
      chainId: chain.chainId,
      flow: chain.flow,
      registry: chain.registry,
      gatewayUrl: GATEWAY_URL,
      net: net.from(mine),
      trace,
      privateKey: key,
      onBug: checker.bug,
      clock: planted?.userClock?.(mine.clock),
    })
    trace.add(name, 'starts')
    work(mine, client).catch((error: unknown) => checker.bug(`${name} ended`, error))
  }

  async function work(mine: Process, client: Client): Promise<void> {
    const { clock } = mine
    while (doneCount < todo.length) {
      const { object, at } = todo[doneCount]!
      if (!tries.has(at) && !isCalm) await clock.sleep(object.pauseMs, {})
      tries.set(at, (tries.get(at) ?? 0) + 1)
      const isDone = await operation(mine, `upload ${at}`, () => uploadOne(client, object, at))
      if (isDone) doneCount += 1
      else await clock.sleep(RETRY_MS, {})
      if (!isCalm && checker.acks.length > 0 && chance.below(2) === 0)
        await operation(mine, 'read', () => readOne(client, checker.acks[chance.below(checker.acks.length)]!))
    }
  }

  /** Runs to its end in bounded time, well or badly: whatever does not is a violation. */
  async function operation(mine: Process, what: string, run: () => Promise<void>): Promise<boolean> {
    const limitMs = OPERATION_MS_MAX[kind]
    running.add(what)
    const callOff = time.after(limitMs, () => {
      if (mine.isAlive())
        checker.violation('waits for ever', `${name}: ${what} has not ended after ${limitMs / 1000} s`)
    })
    mine.onDeath(callOff)
    try {
      await run()
      return true
    } catch (error) {
      trace.add(name, what, 'failed', codeOf(error))
      trace.say(name, what, 'failed', error)
      if (!isFailure(error)) checker.userError(`${name}: ${what}`, error)
      return false
    } finally {
      callOff()
      running.delete(what)
    }
  }

  async function uploadOne(client: Client, object: PlannedObject, at: number): Promise<void> {
    const bytes = bytesOf(seed, plan.objects, at)
    if (kind === 'own') {
      const result = await ownUpload(client, { bytes, until: object.until, gatewayUrl: GATEWAY_URL })
      const signers = result.receipts.map(({ signer }) => signer)
      checker.ack({ kind: 'durable', by: name, root: result.root, seq: result.seq, bytes, signers })
      return
    }
    let told: Ack | undefined
    const entry = await officialUpload(client, GATEWAY_URL, {
      bytes,
      how: object.how,
      entry: paid.has(at) ? await entryAgain(client, paid.get(at)!) : undefined,
      onEntry: (found) => paid.set(at, found),
      onSpooled: () => {
        const found = paid.get(at)!
        told = { kind: 'spooled', by: name, root: found.root, seq: found.seq, bytes, signers: [] }
        checker.ack(told)
      },
    })
    checker.ack({ kind: 'finalized', by: name, root: entry.root, seq: entry.seq, bytes, signers: [] })
  }

  async function readOne(client: Client, ack: Ack): Promise<void> {
    const bytes =
      kind === 'own'
        ? await ownDownload(client, { root: ack.root, sizeBytes: ack.bytes.length })
        : await officialDownload(client, GATEWAY_URL, { seq: ack.seq, root: ack.root, sizeBytes: ack.bytes.length })
    checker.yielded(`${name} reads`, ack, bytes)
  }

  return {
    name,
    address,
    start,
    tries,
    crash() {
      world.crashes += 1
      trace.add(name, 'is killed')
      process?.die()
    },
    dieAfter(steps) {
      const mine = process
      mine?.dieAfter(steps, () => {
        world.crashes += 1
        trace.add(name, 'is killed')
        mine.die()
        time.after(RETRY_MS, start)
      })
    },
    isDone: () => doneCount === todo.length && running.size === 0,
    open: () =>
      [...running]
        .map((what) => `${name} ${what}`)
        .concat(doneCount < todo.length && running.size === 0 ? [`${name} rests`] : []),
    calmDown: () => void (isCalm = true),
  }
}

function scheduleFaults(world: World, machines: readonly SimMachine[], users: readonly User[]): void {
  world.faultsFromMs = world.time.nowMs()
  for (const fault of world.plan.faults) world.time.after(fault.atMs, () => happen(world, fault, machines, users))
}

function happen(world: World, fault: PlannedFault, machines: readonly SimMachine[], users: readonly User[]): void {
  const { time, trace, chain, chainState, net, chance, plan } = world
  const left = (ms: number): number => Math.max(0, Math.min(ms, plan.faultMs - time.nowMs() + world.faultsFromMs))
  trace.add('fault', fault.kind)
  trace.say('fault', fault)
  switch (fault.kind) {
    case 'crash': {
      const machine = machines[fault.machine]!
      const process = machine.process()
      process?.dieAfter(fault.steps, () => {
        world.crashes += 1
        machine.crash(fault.how)
        time.after(left(fault.downMs), machine.start)
      })
      return
    }
    case 'clientCrash':
      users[fault.client]?.dieAfter(fault.steps)
      return
    case 'partition': {
      const names = new Set(fault.machines.flatMap((at) => [machines[at]!.name, machines[at]!.url]))
      const all = world.partitions
      all.add(names)
      net.faults.isParted = (from, to) => [...all].some((parted) => parted.has(from) !== parted.has(to))
      time.after(left(fault.ms), () => void all.delete(names))
      return
    }
    case 'chainAway':
      chainState.isAway = true
      time.after(left(fault.ms), () => void (chainState.isAway = false))
      return
    case 'chainFlaky':
      chainState.flakyShare = fault.share
      time.after(left(fault.ms), () => void (chainState.flakyShare = 0))
      return
    case 'diskFull': {
      const { faults } = machines[fault.machine]!.disk
      faults.capacityBytes = 0
      time.after(left(fault.ms), () => void (faults.capacityBytes = Infinity))
      return
    }
    case 'slowDisk':
      machines[fault.machine]!.slowUntilMs = time.nowMs() + fault.ms
      return
    case 'failingSyncs':
    case 'failingWrites':
      machines[fault.machine]!.disk.faults[fault.kind] += 1
      return
    case 'rot':
      world.damaged.add(fault.machine)
      void rot(machines[fault.machine]!, fault.count, chance)
      return
    case 'wipe':
    case 'loseIndex': {
      const machine = machines[fault.machine]!
      if (fault.kind === 'wipe') world.damaged.add(fault.machine)
      machine.crash('process')
      if (fault.kind === 'wipe') machine.wipe()
      else machine.index.lose()
      time.after(left(fault.downMs), machine.start)
      return
    }
    case 'skew': {
      // A process keeps the clock with which it started (core `Clock`); its next one starts with another.
      machines[fault.machine]!.skewMs = fault.ms
      return
    }
    case 'reorg': {
      const before = chain.head
      chain.reorganise(Math.min(fault.depth, chain.head - 1), chance)
      world.reorgs += 1
      trace.add(CHAIN, 'reorganised', before, chain.head)
      for (let at = chain.head; at <= before; at++) chain.mine(Math.floor((WORLD_EPOCH_MS + time.nowMs()) / 1000))
      return
    }
    case 'price':
      chain.setPrice((30_733_644_962n * BigInt(fault.percent)) / 100n)
      return
  }
}

/** Bits of the first slots of a file change, where segments are. */
async function rot(machine: SimMachine, count: number, chance: World['chance']): Promise<void> {
  const names = (await machine.disk.list('/data/segments')).filter((name) => name.endsWith('.dat'))
  if (names.length === 0) return
  for (let i = 0; i < count; i++) {
    const name = names[chance.below(names.length)]!
    const slotBytes = Number(name.split('-')[1])
    machine.disk.flipBit(`/data/segments/${name}`, chance.below(4 * slotBytes))
  }
}

/** Nothing fails any more; whoever is down comes back, and a node that turned read-only is restarted, as its error says. */
function endFaults(world: World, machines: readonly SimMachine[], users: readonly User[]): void {
  const { net, chainState, trace } = world
  trace.add('fault', 'none from here on')
  Object.assign(net.faults, { loss: 0, duplication: 0, delay: 0, cut: 0, corruption: 0, isParted: () => false })
  chainState.isAway = false
  chainState.flakyShare = 0
  for (const machine of machines) {
    machine.process()?.dieAfter(Infinity, () => undefined)
    Object.assign(machine.disk.faults, { failingSyncs: 0, failingReads: 0, failingWrites: 0, capacityBytes: Infinity })
    machine.slowUntilMs = 0
    if (machine.isReadOnly()) machine.crash('process')
    machine.start()
  }
  for (const user of users) {
    user.calmDown()
    user.dieAfter(Infinity)
  }
}

/** Everything that was acknowledged is read back through every door, and from every holder that signed for it. */
async function audit(world: World, machines: readonly SimMachine[]): Promise<void> {
  const { time, trace, chain, net, checker, seed, plan } = world
  const process = createProcess('auditor', {
    time,
    trace,
    onStart: (started) => void world.processes.push(started),
    chance: createChance(seed * 11),
  })
  const inner = net.from(process)
  const client = userOf(process, {
    rpcUrl: chainFor(world, process, addressOfPrivateKey(keyOf(120))),
    chainId: chain.chainId,
    flow: chain.flow,
    registry: chain.registry,
    gatewayUrl: GATEWAY_URL,
    net: inner,
    trace,
    privateKey: keyOf(120),
    onBug: checker.bug,
  })
  let followingCount = 0
  for (const machine of machines)
    untilFollowed(client, machine.url, chain.head).then(
      () => void (followingCount += 1),
      (error: unknown) => checker.bug(`${machine.name} follows`, error),
    )
  if (!(await time.run(() => followingCount === machines.length, FOLLOW_MS_MAX)))
    checker.violation('liveness', `a machine does not follow the chain within ${FOLLOW_MS_MAX / 1000} s`)
  const nodeOf = new Map(
    machines.slice(0, plan.nodeCount).map((_, id) => [addressOfPrivateKey(keyOf(id)) as string, id]),
  )
  let openCount = 0
  const check = (what: string, work: () => Promise<void>): void => {
    openCount += 1
    const callOff = time.after(AUDIT_MS_MAX, () => checker.violation('liveness', `${what} does not end`))
    work()
      .catch((error: unknown) => checker.violation('lost', `${what}: ${shownError(error)}`))
      .finally(() => {
        callOff()
        openCount -= 1
      })
  }
  // What was told twice is read once: with the most that was said of it.
  const told = new Map<string, Ack>()
  for (const one of checker.acks) {
    const ack = asOnChain(world, one)
    if (ack === undefined) {
      checker.violation('lost', `entry ${one.seq} of ${one.root} is not on chain`)
      continue
    }
    const key = `${ack.root} ${ack.seq} ${ack.bytes.length}`
    const known = told.get(key)
    told.set(key, { ...ack, signers: [...new Set([...ack.signers, ...(known?.signers ?? [])])] })
  }
  const roots = new Set<string>()
  for (const ack of told.values()) {
    const about = `${ack.kind} ${ack.root.slice(0, 10)} (${ack.bytes.length} bytes, entry ${ack.seq}, by ${ack.by})`
    check(`${about} through the SDK`, async () => {
      checker.yielded('the SDK', ack, await ownDownload(client, { root: ack.root, seq: ack.seq }))
    })
    if (!roots.has(ack.root))
      check(`${about} by its root alone`, async () => {
        checker.yieldedOneOf('the SDK', ack, await ownDownload(client, ack.root))
      })
    roots.add(ack.root)
    check(`${about} through the gateway`, async () => {
      const bytes = await officialDownload(client, GATEWAY_URL, {
        seq: ack.seq,
        root: ack.root,
        sizeBytes: ack.bytes.length,
      })
      checker.yielded('the gateway', ack, bytes)
    })
    for (const signer of ack.signers) {
      const id = nodeOf.get(signer)
      if (id === undefined) checker.violation('stranger', `${about} was signed by ${signer}`)
      else if (!world.damaged.has(id))
        check(`${about} at node ${id}, which signed for it`, async () => {
          const node = createStorageNodeClient(nodeUrl(id), { net: inner, clock: process.clock })
          checker.yielded(`node ${id}`, ack, await wholeOf(node, ack))
        })
    }
  }
  await time.run(() => openCount === 0 || checker.isBroken(), AUDIT_MS_MAX + 1_000)
  process.die()
}

/** A reorganisation may have given the entry another number; the simulated ones drop no transaction. */
function asOnChain({ chain, reorgs }: World, ack: Ack): Ack | undefined {
  if (reorgs === 0) return ack
  const entries = chain.logs().filter(isSubmit).map(decodeSubmitLog)
  const same = entries.filter(({ root, sizeBytes }) => root === ack.root && sizeBytes === ack.bytes.length)
  const entry = same.find(({ seq }) => seq === ack.seq) ?? same[0]
  return entry && { ...ack, seq: entry.seq }
}

async function wholeOf(node: ReturnType<typeof createStorageNodeClient>, ack: Ack): Promise<Uint8Array> {
  const bytes = new Uint8Array(Math.ceil(ack.bytes.length / 256) * 256)
  const count = Math.ceil(ack.bytes.length / 262_144)
  const segments = await node.getSegments(ack.root as Root, { from: 0, count, seq: ack.seq }, {})
  if (segments === undefined) throw new WrongAnswer('it does not hold all of it')
  let at = 0
  for (const { data } of segments) {
    bytes.set(data, at)
    at += data.length
  }
  return bytes.subarray(0, ack.bytes.length)
}

async function stopAll(world: World, machines: readonly SimMachine[]): Promise<void> {
  const { time, checker } = world
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
  return {
    users: users.map(({ name, address }) => ({ name, address })),
    fundsWei: FUNDS_WEI,
    stakesWei: stakesOf(world.plan.nodeCount),
    entryCount: world.chain.logs().filter(isSubmit).length,
    triesMax:
      users.reduce((sum, { tries }) => sum + [...tries.values()].reduce((all, count) => all + count, 0), 0) +
      world.crashes,
  }
}

/** What nobody catches is a defect of somebody. */
function catchStrays(checker: Checker): () => void {
  const onStray = (error: unknown): void => checker.bug('unhandled rejection', error)
  globalThis.process.on('unhandledRejection', onStray)
  return () => void globalThis.process.off('unhandledRejection', onStray)
}

function shownError(error: unknown): string {
  if (isFailure(error))
    return `${error.code} ${JSON.stringify(error.facts, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value))}`
  return String(error)
}
