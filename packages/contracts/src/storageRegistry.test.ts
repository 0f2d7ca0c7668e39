import { type Hex, concat, encodeAbiParameters, getAddress, keccak256, stringToHex, toHex } from 'viem'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import vectors from '../../../sim/vectors/membership.json' with { type: 'json' }
import { type Address, type Anvil, startAnvil } from '../test/anvil.ts'
import {
  type Network,
  type Outcome,
  advance,
  attempt,
  balanceOf,
  deployNetwork,
  send,
  sendAll,
  timestamp,
} from '../test/network.ts'
import { ZERO_HASH } from '../test/submissions.ts'
import { memberStatuses } from './storageRegistry.ts'

const STAKE_PER_SEGMENT = 1_000n
const GRACE = 30n
const LEAVE_DELAY = 600n
const DOMAIN = keccak256(stringToHex('rack-1'))

let chain: Anvil
let network: Network
beforeAll(async () => {
  chain = await startAnvil()
})
afterAll(() => chain[Symbol.asyncDispose]())
beforeEach(async () => {
  network = await deployNetwork(chain, {
    registry: { stakePerSegmentWei: STAKE_PER_SEGMENT, graceSeconds: GRACE, leaveDelaySeconds: LEAVE_DELAY },
  })
})

const owner = (index: number) => chain.accounts[index]!
const signer = (index: number): Address => getAddress(toHex(0xbeef00 + index, { size: 20 }))
type Described = { signer?: Address; endpoint?: string; domain?: Hex; capacity?: bigint; stake?: bigint }
const describeCall = (functionName: 'register' | 'update', from: number, what: Described = {}) => {
  const { endpoint = `http://127.0.0.1:${8610 + from}`, domain = DOMAIN, capacity = 50n, stake = 100_000n } = what
  const args = [what.signer ?? signer(from), endpoint, domain, capacity]
  return network.call(owner(from), 'storageRegistry', functionName, args, stake)
}
const act = (from: number, functionName: string, args: readonly unknown[] = []) =>
  network.call(owner(from), 'storageRegistry', functionName, args)
const register = (from: number, what?: Described) => send(chain, describeCall('register', from, what))
const refused = async (outcome: Promise<Outcome>, error: string, args?: readonly unknown[]) =>
  expect(await outcome).toMatchObject({ ok: false, error, ...(args ? { args } : {}) })
const members = () => network.read<readonly Member[]>('storageRegistry', 'members')
const member = (id: number) => network.read<Member>('storageRegistry', 'memberOf', [id])
const version = () => network.read<bigint>('storageRegistry', 'version')
const statusOf = async (id: number) => memberStatuses[(await member(id)).status]

describe('joining', () => {
  test('a member is what its owner said, and the event tells the same', async () => {
    const receipt = await register(1)
    const now = await timestamp(chain)
    const expected = {
      id: 1,
      signer: signer(1),
      endpoint: 'http://127.0.0.1:8611',
      domain: DOMAIN,
      weight: 50n,
      capacitySegments: 50n,
      stake: 100_000n,
      lastHeartbeat: now,
      status: 1,
    }
    expect(await members()).toMatchObject([expected])
    expect((await member(1)).owner.toLowerCase()).toBe(owner(1))
    expect(await network.read('storageRegistry', 'memberByOwner', [owner(1)])).toBe(1)
    expect(await version()).toBe(1n)
    const [event] = network.events(receipt)
    const { id, endpoint, domain, weight } = expected
    expect(event).toMatchObject({
      eventName: 'MemberChanged',
      args: { version: 1n, id, endpoint, domain, weight, status: 1 },
    })
  })

  test('weight is the smaller of capacity and what the stake pays for', async () => {
    await register(1, { capacity: 50n, stake: 100_000n })
    await register(2, { capacity: 1_000_000n, stake: 99_999n })
    expect((await members()).map(({ weight }) => weight)).toEqual([50n, 99n])
  })

  test('one owner has one member, and one signer stands for one member', async () => {
    await register(1)
    await refused(attempt(chain, describeCall('register', 1, { signer: signer(9) })), 'AlreadyMember')
    await refused(attempt(chain, describeCall('register', 2, { signer: signer(1) })), 'SignerTaken')
    await register(2)
    await refused(attempt(chain, describeCall('update', 2, { signer: signer(1) })), 'SignerTaken')
  })

  test('nonsense is refused by name: no signer, no or a long endpoint, no capacity, a stake below one segment', async () => {
    await refused(attempt(chain, describeCall('register', 1, { signer: `0x${'00'.repeat(20)}` })), 'SignerInvalid')
    await refused(attempt(chain, describeCall('register', 1, { endpoint: '' })), 'EndpointInvalid', [0n, 256n])
    await refused(attempt(chain, describeCall('register', 1, { endpoint: 'x'.repeat(257) })), 'EndpointInvalid', [
      257n,
      256n,
    ])
    await refused(attempt(chain, describeCall('register', 1, { capacity: 0n })), 'CapacityInvalid')
    await refused(attempt(chain, describeCall('register', 1, { stake: 999n })), 'StakeTooLow', [999n, 1_000n])
    await register(1, { endpoint: 'x'.repeat(256), stake: 1_000n, capacity: 2n ** 64n - 1n })
    expect((await member(1)).weight).toBe(1n)
  })

  test('who is no member can do nothing', async () => {
    for (const name of ['heartbeat', 'drain', 'leave']) await refused(attempt(chain, act(3, name)), 'NotMember')
    await refused(attempt(chain, describeCall('update', 3)), 'NotMember')
    await refused(attempt(chain, act(3, 'withdrawStake')), 'NothingToWithdraw')
    expect(await network.read('storageRegistry', 'memberByOwner', [owner(3)])).toBe(0)
    expect((await member(77)).status).toBe(0)
    await refused(attempt(chain, act(3, 'markStale', [77])), 'WrongStatus')
  })
})

describe('the life of a member', () => {
  beforeEach(async () => {
    await register(1)
    await register(2)
    await register(3)
  })

  test('update replaces the description, adds to the stake and frees the old signer', async () => {
    await send(
      chain,
      describeCall('update', 2, { signer: signer(20), endpoint: 'http://new', capacity: 500n, stake: 50_000n }),
    )
    expect(await member(2)).toMatchObject({
      endpoint: 'http://new',
      weight: 150n,
      stake: 150_000n,
      capacitySegments: 500n,
    })
    expect(await version()).toBe(4n)
    await register(4, { signer: signer(2) })
    await refused(attempt(chain, describeCall('register', 5, { signer: signer(20) })), 'SignerTaken')
  })

  test('a heartbeat of a living member changes its time and nothing else', async () => {
    await advance(chain, { seconds: 20 })
    const receipt = await send(chain, act(2, 'heartbeat'))
    expect(network.events(receipt).map(({ eventName }) => eventName)).toEqual(['Heartbeat'])
    expect((await member(2)).lastHeartbeat).toBe(await timestamp(chain))
    expect(await version()).toBe(3n)
  })

  test('nobody is stale within the grace, anyone can say so after it, and a heartbeat brings the member back', async () => {
    const { lastHeartbeat } = await member(2)
    await chain.rpc('evm_setNextBlockTimestamp', [Number(lastHeartbeat + GRACE)])
    const [early] = await sendAll(chain, [act(9, 'markStale', [2])])
    expect(early!.status).toBe('failed')
    await refused(attempt(chain, act(9, 'markStale', [2])), 'StillAlive', [2, lastHeartbeat + GRACE])
    await chain.rpc('evm_setNextBlockTimestamp', [Number(lastHeartbeat + GRACE + 1n)])
    const receipt = await send(chain, act(9, 'markStale', [2]))
    expect(network.events(receipt)).toMatchObject([
      { eventName: 'MemberChanged', args: { version: 4n, id: 2, status: 2 } },
    ])
    expect((await members()).map(({ id }) => id)).toEqual([1, 3])
    expect(await statusOf(2)).toBe('stale')
    await refused(attempt(chain, act(9, 'markStale', [2])), 'WrongStatus')
    await refused(attempt(chain, describeCall('update', 2)), 'WrongStatus')

    const back = await send(chain, act(2, 'heartbeat'))
    expect(network.events(back).map(({ eventName }) => eventName)).toEqual(['Heartbeat', 'MemberChanged'])
    expect((await members()).map(({ id }) => id)).toEqual([1, 2, 3])
    expect(await version()).toBe(5n)
  })

  test('drain, wait, leave: the stake comes back by pull, owner and signer are free, the id is not used again', async () => {
    const receipt = await send(chain, act(2, 'drain'))
    expect(network.events(receipt).map(({ eventName }) => eventName)).toEqual(['DrainStarted', 'MemberChanged'])
    expect((await members()).map(({ id }) => id)).toEqual([1, 3])
    for (const name of ['heartbeat', 'drain']) await refused(attempt(chain, act(2, name)), 'WrongStatus')
    await refused(attempt(chain, describeCall('update', 2)), 'WrongStatus')
    await refused(attempt(chain, act(2, 'leave')), 'LeavesLater')
    await refused(attempt(chain, describeCall('register', 2, { signer: signer(9) })), 'AlreadyMember')

    await advance(chain, { seconds: Number(LEAVE_DELAY) })
    const left = await send(chain, act(2, 'leave'))
    expect(network.events(left).map(({ eventName }) => eventName)).toEqual(['Credited', 'MemberLeft'])
    expect(await member(2)).toMatchObject({ status: 4, stake: 0n })
    expect(await version()).toBe(4n)
    const before = await balanceOf(chain, owner(2))
    await send(chain, act(2, 'withdrawStake'))
    expect(await balanceOf(chain, owner(2))).toBe(before + 100_000n)

    await register(2)
    expect(await network.read('storageRegistry', 'memberByOwner', [owner(2)])).toBe(4)
    expect((await members()).map(({ id }) => id)).toEqual([1, 3, 4])
  })

  test('leaving needs a drain first, and a stale member can drain too, without a new version', async () => {
    await refused(attempt(chain, act(2, 'leave')), 'WrongStatus')
    await advance(chain, { seconds: 31 })
    await send(chain, act(9, 'markStale', [2]))
    const receipt = await send(chain, act(2, 'drain'))
    expect(network.events(receipt).map(({ eventName }) => eventName)).toEqual(['DrainStarted'])
    expect(await version()).toBe(4n)
    expect(await statusOf(2)).toBe('draining')
  })
})

describe('the membership hash', () => {
  test('of an empty set is the hash of nothing, of a version to come is zero', async () => {
    expect(await network.read('storageRegistry', 'membershipHash', [0n])).toBe(keccak256('0x'))
    expect(await network.read('storageRegistry', 'membershipHash', [1n])).toBe(ZERO_HASH)
  })

  test('is the one that the receipts of clients are checked against', async () => {
    const inSet = ({ ids }: { ids: readonly number[] }) => vectors.members.filter(({ id }) => ids.includes(id))
    for (const set of vectors.sets) {
      const list = inSet(set).map(({ weight, ...rest }) => ({ ...rest, weight: BigInt(weight) }))
      expect(hashOf(list as never)).toBe(set.membershipHash)
    }
    // The members that a registry can have: ids from 1 on, an endpoint, a weight that a stake can pay for.
    for (const ids of [[1], [1, 2]]) {
      const { id, signer, endpoint, domain, weight } = vectors.members[ids.length - 1]!
      const capacity = BigInt(weight)
      const what = {
        signer: signer as Address,
        endpoint,
        domain: domain as Hex,
        capacity,
        stake: capacity * STAKE_PER_SEGMENT,
      }
      await register(id, what)
      const expected = vectors.sets.find(
        (set) => set.ids.length === ids.length && inSet(set).every((m) => ids.includes(m.id)),
      )!
      expect(await network.read('storageRegistry', 'membershipHash', [BigInt(ids.length)])).toBe(
        expected.membershipHash,
      )
    }
  })

  test('of every version is the hash of its leaves ascending by id, whatever joined, left and came back', async () => {
    const lists: (readonly Member[])[] = [[]]
    const record = async () => lists.push(await members())
    for (const from of [1, 2, 3, 4, 5]) {
      await register(from, { capacity: BigInt(from * 7), domain: keccak256(toHex(from)) })
      await record()
    }
    await send(chain, act(5, 'drain'))
    await record()
    await advance(chain, { seconds: 31 })
    for (const id of [1, 3, 2]) {
      await send(chain, act(9, 'markStale', [id]))
      await record()
    }
    for (const from of [2, 1, 3]) {
      await send(chain, act(from, 'heartbeat'))
      await record()
    }
    await send(chain, describeCall('update', 4, { endpoint: 'http://[::1]:1/ü', capacity: 9n }))
    await record()

    expect(await version()).toBe(BigInt(lists.length - 1))
    for (const [i, list] of lists.entries()) {
      expect(list.map(({ id }) => id)).toEqual(list.map(({ id }) => id).toSorted((a, b) => a - b))
      expect(await network.read('storageRegistry', 'membershipHash', [BigInt(i)]), `version ${i}`).toBe(hashOf(list))
    }
  })
})

test('256 members fit, the next is refused, and a change in the fullest set stays below two million gas', async () => {
  const owners = await manyOwners(257)
  const join = (index: number) => {
    const args = [signer(index + 1), `http://127.0.0.1:${10_000 + index}/${'a'.repeat(200)}`, DOMAIN, 5n]
    return { ...network.call(owners[index]!, 'storageRegistry', 'register', args, 5_000n), gas: 3_000_000n }
  }
  let dearest = 0n
  for (let i = 0; i < 256; i += 8) {
    for (const { status, gasUsed } of await sendAll(
      chain,
      Array.from({ length: 8 }, (_, k) => join(i + k)),
    )) {
      expect(status).toBe('ok')
      if (gasUsed > dearest) dearest = gasUsed
    }
  }
  expect(await members()).toHaveLength(256)
  await refused(attempt(chain, join(256)), 'MembersFull', [256n])

  // The first member goes stale and returns: every id behind it moves.
  const [first] = await members()
  const drained = await send(chain, network.call(owners[255]!, 'storageRegistry', 'drain'))
  await chain.rpc('evm_setNextBlockTimestamp', [Number(first!.lastHeartbeat + GRACE) + 100])
  const stale = await send(chain, network.call(owners[9]!, 'storageRegistry', 'markStale', [1]))
  const back = await send(chain, network.call(owners[0]!, 'storageRegistry', 'heartbeat'))
  for (const { gasUsed } of [drained, stale, back]) if (gasUsed > dearest) dearest = gasUsed
  expect(dearest).toBeLessThan(2_000_000n)
  expect(await network.read('storageRegistry', 'membershipHash', [await version()])).toBe(hashOf(await members()))
})

function hashOf(list: readonly Member[]): Hex {
  const types = [
    { type: 'uint32' },
    { type: 'address' },
    { type: 'bytes32' },
    { type: 'bytes32' },
    { type: 'uint256' },
  ] as const
  const leaves = list.map(({ id, signer, endpoint, domain, weight }) =>
    keccak256(encodeAbiParameters(types, [id, signer, keccak256(stringToHex(endpoint)), domain, weight])),
  )
  return keccak256(concat(leaves))
}

/** Funded accounts beyond those of the chain. */
async function manyOwners(count: number): Promise<Address[]> {
  const owners = Array.from({ length: count }, (_, i): Address => toHex(0xabc000 + i, { size: 20 }))
  await Promise.all(owners.map((address) => chain.rpc('anvil_setBalance', [address, '0xde0b6b3a7640000'])))
  await chain.rpc('anvil_autoImpersonateAccount', [true])
  return owners
}

type Member = {
  readonly id: number
  readonly owner: Address
  readonly signer: Address
  readonly endpoint: string
  readonly domain: Hex
  readonly weight: bigint
  readonly capacitySegments: bigint
  readonly stake: bigint
  readonly lastHeartbeat: bigint
  readonly status: number
}
