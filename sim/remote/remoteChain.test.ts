import { deployContracts, createRemoteEngine } from '@weightless/chain'
import { isFailure, toHex, type Index } from '@weightless/core'
import { headFeed, systemClock, systemNet, systemRandom } from '@weightless/host'
import { createRpc, submitCalldata } from '@weightless/sdk'
import { addressOfPrivateKey } from '@weightless/core'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { startAnvil, type Anvil } from '../../packages/contracts/test/anvil.ts'
import { createChainReader } from '../../packages/node/src/flow/chainReader.ts'
import { createFollower, type Follower } from '../../packages/node/src/flow/follow.ts'
import { createChance } from '../chance.ts'
import { objectOf } from '../compliance/storageNode.ts'
import { createMemoryIndexStore } from '../memoryIndex.ts'
import { silentLogger } from '../silentLogger.ts'
import { createFaultyRpc, type FaultyRpc } from './faultyRpc.ts'

// A second chain that nothing of `up` knows: an anvil with a Flow of its own, blocks on demand, real reorganisations, behind an
// endpoint that does what endpoints of strangers do.

const CHAIN_ID = 31337
const deployer = new Uint8Array(32).fill(0x5a)
const objects = Array.from({ length: 40 }, (_, i) => objectOf(200 + 300_000 * (i % 3), 700 + i))

let anvil: Anvil
let flow: `0x${string}`
let registry: `0x${string}`
const opened: AsyncDisposable[] = []
const overs: AbortController[] = []

beforeEach(async () => {
  anvil = await startAnvil()
  opened.push(anvil)
  await anvil.rpc('anvil_setBalance', [addressOfPrivateKey(deployer), '0x21e19e0c9bab2400000'])
  await anvil.rpc('evm_setAutomine', [true])
  const contracts = await deployContracts({ request: (method, params) => anvil.rpc(method, params) }, { key: deployer })
  await anvil.rpc('evm_setAutomine', [false])
  flow = contracts.flow as `0x${string}`
  registry = contracts.storageRegistry as `0x${string}`
})
afterEach(async () => {
  for (const over of overs.splice(0)) over.abort(new Error('the test is over'))
  for (const one of opened.splice(0).toReversed()) await one[Symbol.asyncDispose]()
})

async function mine(count = 1): Promise<void> {
  await anvil.rpc('anvil_mine', [`0x${count.toString(16)}`])
}

/** All in one block. */
async function submit(...which: readonly number[]): Promise<void> {
  const [from] = anvil.accounts
  for (const i of which) {
    const data = submitCalldata([objects[i]!.submission], from! as never)
    await anvil.rpc('eth_sendTransaction', [
      { from, to: flow, data, value: '0xde0b6b3a7640000', gas: '0xf4240', gasPrice: '0x77359400' },
    ])
  }
  await mine()
}

async function openFaulty(seed: number, faults: Parameters<typeof createFaultyRpc>[2] = {}): Promise<FaultyRpc> {
  const faulty = await createFaultyRpc((method, params) => anvil.rpc(method, params), createChance(seed), faults)
  opened.push(faulty)
  return faulty
}

type Running = { readonly follower: Follower; readonly index: Index; readonly ended: Promise<unknown> }

function follow(url: string, options: { readonly index?: Index } = {}): Running {
  const over = new AbortController()
  overs.push(over)
  const index = options.index ?? createMemoryIndexStore(createChance(1)).open()
  const deps = { net: systemNet, clock: systemClock, random: systemRandom }
  const rpc = createRpc(url, deps)
  const at = { flow: flow as never, registry: registry as never }
  const follower = createFollower(
    { chainId: CHAIN_ID, ...at, startBlock: 0 },
    {
      rpc,
      reader: createChainReader(at, { rpc }),
      heads: ({ signal }) => headFeed({ rpcUrl: url, pollMs: 20 }, deps, { signal }),
      index,
      clock: systemClock,
      logger: silentLogger,
    },
  )
  return { follower, index, ended: follower.run({ signal: over.signal }).catch((error: unknown) => error) }
}

async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadlineMs = performance.now() + 50_000
  while (!(await condition())) {
    if (performance.now() > deadlineMs) throw new Error(`never came true: ${what}`)
    await new Promise((next) => setTimeout(next, 5))
  }
}

async function headHash(): Promise<unknown> {
  return ((await anvil.rpc('eth_getBlockByNumber', ['latest', false])) as { hash: unknown }).hash
}
const caughtUp = (follower: Follower): Promise<void> =>
  until(async () => follower.head().hash === (await headHash()), 'the follower has the newest block')

function rows(index: Index): string[] {
  const found: string[] = []
  for (const kind of ['e', 'r', 'a', 'f', 'm']) {
    const from = new TextEncoder().encode(kind)
    for (const { key, value } of index.range({ from, to: Uint8Array.of(from[0]! + 1) }))
      found.push(`${toHex(key)} ${toHex(value)}`)
  }
  return found
}

/** The state of a follower that reads the chain that is left from a faultless endpoint. */
async function expectRefold({ follower, index }: Running): Promise<void> {
  const direct = await openFaulty(0, { failShare: 0, lags: [0], callsPerTurn: Infinity })
  const fresh = follow(direct.url)
  await caughtUp(fresh.follower)
  // A machine that lagged may have hidden the newest entries until the second look.
  await until(() => follower.nextSeq() === fresh.follower.nextSeq(), 'all entries are there')
  expect(rows(index)).toEqual(rows(fresh.index))
  expect(toHex(follower.flow.context().root)).toBe(toHex(fresh.follower.flow.context().root))
}

test('a flow that somebody else deployed is followed through an endpoint that fails, limits, caps and lags', async () => {
  const faulty = await openFaulty(11)
  await submit(0, 1, 2)
  await mine(1_200)
  await submit(3)
  await mine(300)
  const running = follow(faulty.url)
  await caughtUp(running.follower)
  for (let i = 4; i < 20; i++) {
    await submit(i)
    await mine(i % 3)
  }
  await mine(4)
  await caughtUp(running.follower)
  await expectRefold(running)
  expect(running.follower.nextSeq()).toBe(20)
  expect(Math.min(faulty.counts.failed, faulty.counts.limited, faulty.counts.lagged)).toBeGreaterThan(0)
})

test('an endpoint that gives fewer blocks than it should is asked for fewer', async () => {
  const faulty = await openFaulty(12, { logBlocksMax: 100, failShare: 0, lags: [0] })
  await submit(0)
  await mine(1_500)
  await submit(1)
  const running = follow(faulty.url)
  await caughtUp(running.follower)
  expect(running.follower.nextSeq()).toBe(2)
  expect(faulty.counts.capped).toBeGreaterThan(0)
  // Not once for each page.
  expect(faulty.counts.capped).toBeLessThan(15)
})

test('real reorganisations, one after the other, leave the log of the chain that is left', async () => {
  const faulty = await openFaulty(13)
  const chance = createChance(13)
  const running = follow(faulty.url)
  let removedCount = 0
  running.follower.onCommit(({ removed }) => (removedCount += removed.length))
  await submit(0, 1)
  await mine(5)
  for (let round = 0; round < 6; round++) {
    const snapshot = await anvil.rpc('evm_snapshot')
    await submit(2 + round, 10 + round)
    await submit(20 + round)
    await mine(1 + chance.below(20))
    await caughtUp(running.follower)
    // The same transactions come back in another order, one is replaced, and the new branch is longer.
    expect(await anvil.rpc('evm_revert', [snapshot])).toBe(true)
    await anvil.rpc('evm_setNextBlockTimestamp', [Math.floor(Date.now() / 1000) + 1_000 * (round + 1)])
    await submit(20 + round, 30 + (round % 8))
    if (round % 2 === 0) await submit(2 + round)
    await mine(25)
    await caughtUp(running.follower)
  }
  await expectRefold(running)
  // Three a round, less what a machine that lagged had hidden.
  expect(removedCount).toBeGreaterThan(6)
})

test('an endpoint that lies about its chain in the middle halts the follower until it tells the truth', async () => {
  const faulty = await openFaulty(14, { failShare: 0, lags: [0] })
  await submit(0)
  await mine(3)
  const running = follow(faulty.url)
  await caughtUp(running.follower)
  const before = running.follower.head()
  const snapshot = await anvil.rpc('evm_snapshot')
  await mine(2)
  await caughtUp(running.follower)
  faulty.faults.chainId = 16601
  await anvil.rpc('evm_revert', [snapshot])
  await anvil.rpc('evm_setNextBlockTimestamp', [Math.floor(Date.now() / 1000) + 5_000])
  await submit(1)
  await mine(3)
  await until(() => running.follower.state().kind === 'halted', 'it halts')
  expect(running.follower.state()).toMatchObject({ failure: { code: 'CHAIN_ID_MISMATCH', facts: { chainId: 16601 } } })
  expect(running.follower.nextSeq()).toBe(1)
  expect(running.follower.head().number).toBeGreaterThan(before.number)
})

test('a chain that is down at the start and in the middle is a state, and is followed when it is there', async () => {
  const faulty = await openFaulty(15, { isDown: true, failShare: 0, lags: [0] })
  const running = follow(faulty.url)
  await until(() => running.follower.state().kind === 'delayed', 'it is said to be away')
  expect(running.follower.state()).toMatchObject({ failure: { code: 'RPC_UNREACHABLE' } })
  faulty.faults.isDown = false
  await submit(0)
  await caughtUp(running.follower)
  faulty.faults.isDown = true
  await submit(1)
  faulty.faults.isDown = false
  await caughtUp(running.follower)
  expect(running.follower.nextSeq()).toBe(2)
})

test('the engine `remote` gives heads in order and what is final, and refuses another chain or another contract', async () => {
  const faulty = await openFaulty(16)
  await submit(0)
  await mine(100)
  const deps = { clock: systemClock }
  const options = { rpcUrl: faulty.url, chainId: CHAIN_ID, flow, pollMs: 20 }
  const engine = createRemoteEngine(options, deps)
  opened.push(engine)
  const seen: number[] = []
  engine.onBlock((block) => seen.push(block.number))
  await engine.start()
  await mine(3)
  const newest = Number(await anvil.rpc('eth_blockNumber'))
  await until(() => engine.head()?.number === newest, 'the newest head')
  expect(engine.finalized()!.number).toBeLessThanOrEqual(newest)
  expect(engine.finalized()!.number).toBeGreaterThan(0)
  expect(engine).toMatchObject({ chainId: CHAIN_ID, rpcUrl: faulty.url, pid: undefined, restartCount: 0 })
  expect(seen.length).toBeGreaterThan(0)
  expect(engine.fault).toBeUndefined()
  faulty.faults.chainId = 16601
  await mine(1)
  await until(() => engine.fault?.code === 'REMOTE_CHAIN_ID_DIFFERENT', 'it says that this is another chain')
  expect(engine.head()!.number).toBe(newest)
  faulty.faults.chainId = undefined
  await engine.stop()
  await expect(createRemoteEngine({ ...options, chainId: 1 }, deps).start()).rejects.toSatisfy((error) =>
    isFailure(error, 'REMOTE_CHAIN_ID_DIFFERENT'),
  )
  await expect(createRemoteEngine({ ...options, flow: `0x${'9'.repeat(40)}` }, deps).start()).rejects.toSatisfy(
    (error) => isFailure(error, 'REMOTE_FLOW_MISSING'),
  )
})
