import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { addressOfPrivateKey, domainOf, Failure, toHex, type Address, type Member, type Net } from '@weightless/core'
import { headFeed, systemClock, systemNet, systemRandom } from '@weightless/host'
import {
  createRpc,
  createTransactor,
  drainMember,
  privateKeySigner,
  readActiveMembers,
  readOwnMember,
  type Rpc,
  type StorageNodeClient,
} from '@weightless/sdk'
import { startAnvil, type Anvil } from '../../../contracts/test/anvil.ts'
import { advance, deployNetwork, sendAll, timestamp, type Network } from '../../../contracts/test/network.ts'
import { createChance } from '../../../../sim/chance.ts'
import { createMemoryIndexStore } from '../../../../sim/memoryIndex.ts'
import { silentLogger } from '../../../../sim/silentLogger.ts'
import { until } from '../../test/testClock.ts'
import { createChainReader } from '../flow/chainReader.ts'
import { createFollower, type Follower } from '../flow/follow.ts'
import { createMemberKeeper, type MemberKeeper } from './keepMember.ts'

// The real contract on a real EVM whose clock the test sets; nodes are their keepers and followers.

const CHAIN_ID = 31337
const GRACE = 30
const ENDPOINT = (i: number): string => `http://node-${i}.test/`

type Node = {
  readonly key: Uint8Array<ArrayBuffer>
  readonly address: Address
  readonly keeper: MemberKeeper
  readonly follower: Follower
  readonly ended: Promise<unknown>
  /** Ends it as kill -9 would. */
  kill(): void
}

let chain: Anvil
let network: Network
let url: string
let keyCount = 0
let nodes: Node[]
/** Who answers at the endpoints of nodes that are there. */
const answering = new Map<string, Address>()
/** Wallets without a coin. */
const poor = new Set<string>()

beforeAll(async () => {
  chain = await startAnvil()
  await chain.rpc('evm_setAutomine', [true])
  url = chain.url
})
afterAll(() => chain[Symbol.asyncDispose]())
beforeEach(async () => {
  await chain.rpc('evm_setAutomine', [false])
  network = await deployNetwork(chain, { registry: { graceSeconds: BigInt(GRACE), leaveDelaySeconds: 0n } })
  await chain.rpc('evm_setAutomine', [true])
  nodes = []
  poor.clear()
  answering.clear()
})
afterEach(async () => {
  for (const node of nodes) node.kill()
  await Promise.all(nodes.map(({ ended }) => ended))
})

const registry = (): Address => network.addresses.storageRegistry.toLowerCase() as Address

const net: Net = {
  fetch: async (request) => {
    const asked = (await request.clone().json()) as Question | readonly Question[]
    const refused = new Set(
      [asked]
        .flat()
        .filter(isUnpaid)
        .map(({ id }) => id),
    )
    const response = await systemNet.fetch(request)
    if (refused.size === 0) return response
    const answered = (await response.json()) as Answer | readonly Answer[]
    const error = { code: -32_003, message: 'insufficient funds for gas * price + value' }
    const answers = [answered].flat().map((one) => (refused.has(one.id) ? { jsonrpc: '2.0', id: one.id, error } : one))
    return Response.json(Array.isArray(answered) ? answers : answers[0])
  },
}
type Answer = { readonly id: number }
type Question = { readonly id: number; readonly method: string; readonly params: readonly unknown[] }
/** Gas costs nothing on this chain: what a wallet cannot pay for is refused here. */
const isUnpaid = ({ method, params }: Question): boolean =>
  method === 'eth_estimateGas' && poor.has((params[0] as { readonly from: string }).from)

const rpcOf = (): Rpc => createRpc(url, { net, clock: systemClock, random: systemRandom })

function start(i: number, funds: 'rich' | 'poor' = 'rich', key = new Uint8Array(32).fill(++keyCount)): Node {
  const address = addressOfPrivateKey(key)
  if (funds === 'poor') poor.add(address)
  const over = new AbortController()
  const { signal } = over
  const rpc = rpcOf()
  const machine = { clock: systemClock, random: systemRandom, net: systemNet, logger: silentLogger }
  const reader = createChainReader(
    { flow: network.addresses.flow.toLowerCase() as Address, registry: registry() },
    { rpc },
  )
  const follower = createFollower(
    { chainId: CHAIN_ID, flow: network.addresses.flow.toLowerCase() as Address, registry: registry(), startBlock: 0 },
    {
      ...machine,
      rpc,
      reader,
      index: createMemoryIndexStore(createChance(i)).open(),
      heads: (options) => headFeed({ rpcUrl: url, pollMs: 5 }, machine, options),
    },
  )
  const transactor = createTransactor({ chainId: CHAIN_ID, signer: privateKeySigner(key) }, { rpc, ...machine })
  const peers = { of: (member: Member) => clientOf(member) }
  const keeper = createMemberKeeper(
    {
      registry: registry(),
      signer: address,
      endpoint: ENDPOINT(i),
      domain: domainOf(`${i}`),
      capacitySegments: 10n,
      stakeWei: undefined,
    },
    { ...machine, rpc, transactor, follower, peers },
  )
  answering.set(address, address)
  const ended = Promise.all([
    chain
      .rpc('anvil_setBalance', [address, toHex(new Uint8Array([1, ...new Uint8Array(9)]))])
      .then(() => keeper.run({ signal })),
    follower.run({ signal }),
  ]).catch((error: unknown) => error)
  const node = {
    key,
    address,
    keeper,
    follower,
    ended,
    kill: () => {
      answering.delete(address)
      over.abort(new Error('killed'))
    },
  }
  nodes.push(node)
  return node
}

function clientOf({ signer, endpoint }: Member): StorageNodeClient {
  const status = async (): Promise<{ readonly signer: Address }> => {
    const found = answering.get(signer)
    if (found !== undefined) return { signer: found }
    throw new Failure('NODE_UNREACHABLE', { next: '', retryable: true, blame: 'peer' }, { endpoint })
  }
  return { status } as unknown as StorageNodeClient
}

/** That many nodes, active, each of which has seen all of them. */
async function startNodes(count: number): Promise<readonly Node[]> {
  for (let i = 0; i < count; i++) start(i)
  await until(() => nodes.every(({ follower }) => follower.membership.current().members.length === count), 'all joined')
  return nodes
}

const own = (node: Node) => readOwnMember(rpcOf(), registry(), node.address, {})
const statusOf = async (node: Node): Promise<string | undefined> => (await own(node))?.status
const head = async (): Promise<number> => Number(await chain.rpc('eth_blockNumber'))
const lastOf = async (node: Node): Promise<number> => (await own(node))!.lastHeartbeat

/** A block that much later than the last one; resolves when these nodes have spoken after it. */
async function idleBlock(seconds: number, speaking: readonly Node[]): Promise<void> {
  await advance(chain, { seconds })
  const now = Number(await timestamp(chain))
  await until(async () => {
    const last = await Promise.all(speaking.map(lastOf))
    return last.every((lastS) => lastS >= now)
  }, `heartbeats at ${now}`)
}

/** Events of the registry by name, since a block. */
async function events(fromBlock: number): Promise<readonly string[]> {
  const filter = { address: registry(), fromBlock: `0x${fromBlock.toString(16)}`, toBlock: 'latest' }
  const logs = (await chain.rpc('eth_getLogs', [filter])) as never[]
  return network.events({ logs } as never).map(({ eventName }) => eventName)
}

describe('members of a network', () => {
  test('speak once for each block of an idle chain, and not at all while there is none or it comes too soon', async () => {
    const three = await startNodes(3)
    const before = await head()
    await advance(chain, { seconds: 5 })
    await until(() => three.every(({ follower }) => follower.head().number > before), 'the block is seen')
    await idleBlock(GRACE, three)
    await idleBlock(GRACE, three)
    expect(await events(before + 1)).toEqual(Array.from({ length: 6 }, () => 'Heartbeat'))
    for (const { keeper } of three) expect(keeper.standing()).toMatchObject({ status: 'active', fault: undefined })
  })

  test('mark one that has gone, by one transaction, within a bounded number of blocks, and it comes back at another address', async () => {
    const [gone, ...others] = await startNodes(4)
    await idleBlock(GRACE, nodes)
    gone!.kill()
    const before = await head()
    await until(async () => {
      if ((await statusOf(gone!)) === 'stale') return true
      await idleBlock(GRACE, others)
      return false
    }, 'it is stale')
    const told = await events(before + 1)
    expect(told.filter((name) => name === 'MemberChanged')).toHaveLength(1)
    // Two graces of silence and one to be sure, in blocks of a grace with a heartbeat of each; then its turn comes.
    expect((await head()) - before).toBeLessThan(40)
    await until(() => others.every(({ follower }) => follower.membership.current().members.length === 3), 'all know')
    const back = start(9, 'rich', gone!.key)
    await until(async () => (await own(back))!.endpoint === ENDPOINT(9), 'it is back')
    expect(await own(back)).toMatchObject({ id: (await own(gone!))!.id, status: 'active' })
  })

  test('do not mark one that answers, though it is silent', async () => {
    const [quiet, ...others] = await startNodes(3)
    quiet!.kill()
    answering.set(quiet!.address, quiet!.address)
    for (let i = 0; i < 6; i++) await idleBlock(GRACE, others)
    expect(await statusOf(quiet!)).toBe('active')
    answering.delete(quiet!.address)
    await until(async () => {
      await idleBlock(GRACE, others)
      return (await statusOf(quiet!)) === 'stale'
    }, 'it is stale')
  })

  test('mark one at whose address another node answers', async () => {
    const [gone, ...others] = await startNodes(3)
    gone!.kill()
    answering.set(gone!.address, others[0]!.address)
    await until(async () => {
      await idleBlock(GRACE, others)
      return (await statusOf(gone!)) === 'stale'
    }, 'it is stale')
  })

  test('mark nobody after a night without blocks before each has had the time to speak', async () => {
    const [gone, ...others] = await startNodes(3)
    await idleBlock(GRACE, nodes)
    gone!.kill()
    await idleBlock(8 * 3600, others)
    await idleBlock(GRACE - 5, others)
    expect(await statusOf(gone!)).toBe('active')
    await until(async () => {
      await idleBlock(GRACE, others)
      return (await statusOf(gone!)) === 'stale'
    }, 'it is stale')
  })
})

describe('a member', () => {
  test('that a stranger marks although it lives comes back by itself', async () => {
    const [node] = await startNodes(2)
    await idleBlock(GRACE, nodes)
    const { id } = (await own(node!))!
    await chain.rpc('evm_setAutomine', [false])
    await chain.rpc('evm_increaseTime', [GRACE + 1])
    const stranger = network.call(chain.accounts[7]!, 'storageRegistry', 'markStale', [id])
    const [receipt] = await sendAll(chain, [stranger])
    expect(receipt!.status).toBe('ok')
    await chain.rpc('evm_setAutomine', [true])
    await advance(chain, { seconds: 1 })
    await until(async () => (await statusOf(node!)) === 'active', 'it is back')
    await until(() => nodes.every(({ follower }) => follower.membership.current().members.length === 2), 'all know')
  })

  test('that cannot pay says so and serves on, and speaks again once it can', async () => {
    const [node, other] = await startNodes(2)
    poor.add(node!.address)
    await idleBlock(GRACE, [other!])
    await until(() => node!.keeper.standing().fault !== undefined, 'it says so')
    expect(node!.keeper.standing().fault).toMatchObject({ code: 'FUNDS_INSUFFICIENT' })
    for (let i = 0; i < 3; i++) await idleBlock(GRACE, [other!])
    poor.clear()
    await idleBlock(GRACE, nodes)
    // The chain has its heartbeat a moment before the node knows.
    await until(() => node!.keeper.standing().fault === undefined, 'it says so no more')
    expect(node!.keeper.standing().status).toBe('active')
  })

  test('that is stale and cannot pay is not ended for it, and is back when it can', async () => {
    const [node, other] = await startNodes(2)
    await idleBlock(GRACE, nodes)
    answering.delete(node!.address)
    poor.add(node!.address)
    await until(async () => {
      await idleBlock(GRACE, [other!])
      return (await statusOf(node!)) === 'stale'
    }, 'it is stale')
    await idleBlock(GRACE, [other!])
    await until(() => node!.keeper.standing().status === 'stale', 'it knows')
    await until(() => node!.keeper.standing().fault !== undefined, 'it says why')
    expect(node!.keeper.standing().fault).toMatchObject({ code: 'FUNDS_INSUFFICIENT' })
    poor.clear()
    await until(async () => {
      await idleBlock(GRACE, [other!])
      return (await statusOf(node!)) === 'active'
    }, 'it is back')
  })

  test('that was never one and cannot pay ends with the reason', async () => {
    const node = start(0, 'poor')
    expect(await node.ended).toMatchObject({ code: 'REGISTRATION_FAILED', facts: { code: 'FUNDS_INSUFFICIENT' } })
  })

  test('that drains is silent, is marked by nobody, and stays what it is', async () => {
    const [node, ...others] = await startNodes(3)
    const wallet = createTransactor(
      { chainId: CHAIN_ID, signer: privateKeySigner(node!.key) },
      { rpc: rpcOf(), clock: systemClock, random: systemRandom },
    )
    await drainMember(wallet, registry(), {})
    const last = await lastOf(node!)
    for (let i = 0; i < 4; i++) await idleBlock(GRACE, others)
    expect(await statusOf(node!)).toBe('draining')
    expect(await lastOf(node!)).toBe(last)
    expect(node!.keeper.standing()).toMatchObject({ status: 'draining', fault: undefined })
    expect((await readActiveMembers(rpcOf(), registry(), {})).map(({ signer }) => signer)).not.toContain(node!.address)
  })
})
