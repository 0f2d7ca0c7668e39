import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type Anvil, startAnvil } from '../test/anvil.ts'
import { type Network, advance, attempt, balanceOf, deployNetwork, send, timestamp } from '../test/network.ts'
import { ZERO_HASH } from '../test/submissions.ts'
import { REWARD_ITEM_CHUNKS } from './reward.ts'

const ITEM = BigInt(REWARD_ITEM_CHUNKS)
const RELEASE_SECONDS = 1_000_000n

let chain: Anvil
let network: Network
beforeAll(async () => {
  chain = await startAnvil()
})
afterAll(() => chain[Symbol.asyncDispose]())

// The test sits in the seats of market, mine and foundation: the pool is alone, its arithmetic is the subject.
const market = () => chain.accounts[11]!
const mine = () => chain.accounts[12]!
const foundation = () => chain.accounts[13]!
const miner = () => chain.accounts[14]!
beforeEach(async () => {
  const overrides = { mine: mine(), market: market(), foundationAdmin: foundation(), releaseSeconds: RELEASE_SECONDS }
  network = await deployNetwork(chain, overrides)
})

const fill = (before: bigint, sectors: bigint, value: bigint) =>
  send(chain, network.call(market(), 'reward', 'fillReward', [before, sectors], value))
const claim = (index: bigint, beneficiary = miner()) =>
  send(chain, network.call(mine(), 'reward', 'claimMineReward', [index, beneficiary, ZERO_HASH]))
const item = (index: bigint) => network.read<Item>('reward', 'rewards', [index])
const payments = (payee: `0x${string}`) => network.read<bigint>('reward', 'payments', [payee])
/** Lets the next block come exactly so long after the chunk was completed. */
const at = async (index: bigint, seconds: bigint) => {
  const { startTime } = await item(index)
  await chain.rpc('evm_setNextBlockTimestamp', [startTime + Number(seconds)])
}

describe('filling', () => {
  test('audit 3.1: a fill inside one item credits what is left after the service fee, not the whole value', async () => {
    await send(chain, network.call(foundation(), 'reward', 'setServiceFeeRate', [1_000n]))
    await fill(1n, 100n, 1_000_003n)
    expect((await item(0n)).lockedReward).toBe(900_003n)
    expect(await payments(foundation())).toBe(100_000n)
    expect(await balanceOf(chain, network.addresses.reward)).toBe(1_000_003n)
  })

  test('a fill over three items gives each its share of the sectors, and the shares add up to the last wei', async () => {
    const [before, sectors, value] = [ITEM - 7n, ITEM + 10n, 1_000_000_007n]
    await fill(before, sectors, value)
    const locked = await Promise.all([0n, 1n, 2n, 3n].map(async (i) => (await item(i)).lockedReward))
    expect(locked).toEqual([
      (value * 7n) / sectors,
      (value * (ITEM + 7n)) / sectors - (value * 7n) / sectors,
      locked[2],
      0n,
    ])
    expect(locked.reduce((a, b) => a + b)).toBe(value)
    expect(locked[2]! - (value * 3n) / sectors).toBeLessThanOrEqual(1n)
  })

  test('an item starts its term when the flow passes its end, not before, and takes nothing more', async () => {
    await fill(0n, ITEM - 1n, 5n)
    expect(await item(0n)).toMatchObject({ startTime: 0, lastUpdate: 0 })
    expect(await network.read('reward', 'rewardDeadline', [0n])).toBe(0n)
    await fill(ITEM - 1n, 1n, 5n)
    const now = await timestamp(chain)
    expect(await item(0n)).toMatchObject({ lockedReward: 10n, startTime: Number(now), lastUpdate: Number(now) })
    expect(await network.read('reward', 'rewardDeadline', [0n])).toBe(now + RELEASE_SECONDS)
    const late = network.call(market(), 'reward', 'fillReward', [ITEM - 2n, 1n], 1n)
    expect(await attempt(chain, late)).toMatchObject({ ok: false, error: 'RewardAlreadyStarted', args: [0n] })
  })

  test('nothing can be filled over no sectors', async () => {
    const empty = network.call(market(), 'reward', 'fillReward', [5n, 0n], 1n)
    expect(await attempt(chain, empty)).toMatchObject({ ok: false, error: 'SectorsInvalid' })
  })
})

describe('claiming', () => {
  beforeEach(() => fill(0n, ITEM, 1_000_000n))

  test('before the item is complete there is nothing to claim, and a claim changes nothing', async () => {
    await fill(ITEM, 5n, 77n)
    await claim(1n)
    expect(await payments(miner())).toBe(0n)
    expect(await item(1n)).toMatchObject({ lockedReward: 77n, claimableReward: 0n, distributedReward: 0n })
  })

  test('audit 4.2: of what is released at once n claims pay 1/2, 3/4, 7/8 and so on; the rest waits for the next one', async () => {
    const paid: bigint[] = []
    for (const seconds of [RELEASE_SECONDS, RELEASE_SECONDS + 1n, RELEASE_SECONDS + 2n]) {
      await at(0n, seconds)
      await claim(0n)
      paid.push(await payments(miner()))
    }
    expect(paid).toEqual([500_000n, 750_000n, 875_000n])
    expect(await item(0n)).toMatchObject({ lockedReward: 0n, claimableReward: 125_000n, distributedReward: 875_000n })
  })

  test('audit 4.2: the same two claims spread over the term pay another sum, whoever comes second', async () => {
    await at(0n, RELEASE_SECONDS / 2n)
    await claim(0n, miner())
    await at(0n, RELEASE_SECONDS)
    await claim(0n, chain.accounts[15])
    expect(await payments(miner())).toBe(250_000n)
    expect(await payments(chain.accounts[15]!)).toBe(375_000n)
  })

  test('release is linear over the term and ends with it', async () => {
    for (const [seconds, released] of [
      [1n, 1n],
      [250_000n, 250_000n],
      [999_999n, 999_999n],
      [1_500_000n, 1_000_000n],
    ] as const) {
      await at(0n, seconds)
      await claim(0n)
      const { lockedReward, claimableReward, distributedReward } = await item(0n)
      expect(claimableReward + distributedReward).toBe(released)
      expect(lockedReward).toBe(1_000_000n - released)
    }
  })

  /** What each claim pays on top of its share, at these seconds of the term. */
  const extrasAt = async (moments: readonly bigint[]) => {
    const extras: bigint[] = []
    for (const seconds of moments) {
      const [paidBefore, before] = [await payments(miner()), (await item(0n)).distributedReward]
      await at(0n, seconds)
      await claim(0n)
      extras.push((await payments(miner())) - paidBefore - ((await item(0n)).distributedReward - before))
    }
    return extras
  }

  test('the base reward comes on top during the term and never after, though the pool has more', async () => {
    await send(chain, network.call(network.deployer, 'reward', 'setBaseReward', [30n]))
    await send(chain, network.call(chain.accounts[16]!, 'reward', 'donate', [], 100n))
    const moments = [1n, RELEASE_SECONDS - 1n, RELEASE_SECONDS, RELEASE_SECONDS + 1n]
    expect(await extrasAt(moments)).toEqual([30n, 30n, 0n, 0n])
    expect(await network.read('reward', 'totalBaseReward')).toBe(40n)
  })

  test('the base reward goes as far as the pool does', async () => {
    await send(chain, network.call(network.deployer, 'reward', 'setBaseReward', [30n]))
    await send(chain, network.call(chain.accounts[16]!, 'reward', 'donate', [], 50n))
    expect(await extrasAt([1n, 2n, 3n])).toEqual([30n, 20n, 0n])
    expect(await network.read('reward', 'totalBaseReward')).toBe(0n)
  })

  test('a claim is announced with its amount, and the payee takes it out', async () => {
    await at(0n, 500_000n)
    const receipt = await claim(0n)
    const event = network.events(receipt).find(({ eventName }) => eventName === 'DistributeReward')!
    expect(event.args).toMatchObject({ pricingIndex: 0n, minerId: ZERO_HASH, amount: 250_000n })
    const before = await balanceOf(chain, miner())
    await send(chain, network.call(chain.accounts[17]!, 'reward', 'withdrawPayments', [miner()]))
    expect(await balanceOf(chain, miner())).toBe(before + 250_000n)
    const again = network.call(miner(), 'reward', 'withdrawPayments', [miner()])
    expect(await attempt(chain, again)).toMatchObject({ ok: false, error: 'NothingToWithdraw' })
  })
})

test('firstRewardableChunk is the first item that is not past its term', async () => {
  expect(await network.read('reward', 'firstRewardableChunk')).toEqual([0n, 0n])
  for (let i = 0n; i < 5n; i++) {
    await fill(i * ITEM, ITEM, 1n)
    await advance(chain, { seconds: 100_000 })
  }
  const deadlines = await Promise.all(
    [0n, 1n, 2n, 3n, 4n].map((i) => network.read<bigint>('reward', 'rewardDeadline', [i])),
  )
  for (let i = 0; i < 5; i++) {
    await chain.rpc('evm_setNextBlockTimestamp', [Number(deadlines[i]! - 1n)])
    await advance(chain, {})
    expect(await network.read('reward', 'firstRewardableChunk')).toEqual([BigInt(i), deadlines[i]])
  }
  await advance(chain, { seconds: 2 })
  expect(await network.read('reward', 'firstRewardableChunk')).toEqual([5n, 0n])
})

type Item = {
  readonly lockedReward: bigint
  readonly claimableReward: bigint
  readonly distributedReward: bigint
  readonly startTime: number
  readonly lastUpdate: number
}
