import * as fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { runs } from '../../../sim/runs.ts'
import { type Address, type Anvil, startAnvil } from '../test/anvil.ts'
import { type Call, type Network, advance, attempt, balanceOf, deployNetwork, sendAll } from '../test/network.ts'
import { ZERO_HASH, sectorsOf, submissionOf } from '../test/submissions.ts'
import { flowSelectors } from './flow.ts'
import { REWARD_ITEM_CHUNKS } from './reward.ts'

const PRICE = 1_000_003n
const USERS = [1, 2, 3] as const
/** In the seat of Mine, so that claims happen. */
const MINER = 12
const FOUNDATION = 13
const ACTORS = [0, ...USERS, MINER, FOUNDATION]
/** More registrations than one run can make. */
const MEMBER_IDS = 12

let chain: Anvil
let network: Network
let fresh: unknown
beforeAll(async () => {
  chain = await startAnvil()
  network = await deployNetwork(chain, {
    pricePerSector: PRICE,
    blocksPerEpoch: 5n,
    releaseSeconds: 5_000n,
    mine: chain.accounts[MINER]!,
    foundationAdmin: chain.accounts[FOUNDATION]!,
    registry: { stakePerSegmentWei: 10n, graceSeconds: 30n, leaveDelaySeconds: 60n },
  })
  fresh = await chain.rpc('evm_snapshot')
})
afterAll(() => chain[Symbol.asyncDispose]())

const user = fc.constantFrom(...USERS)
const wei = fc.bigInt({ min: 0n, max: 10n ** 15n })
const generation = fc.constantFrom('new' as const, 'old' as const)
const heights = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 0, max: 12 }).map((height) => [height]) },
  { weight: 2, arbitrary: fc.integer({ min: 3, max: 12 }).map((height) => [height, height - 1, height - 3]) },
  { weight: 2, arbitrary: fc.constantFrom([24], [24, 23, 22], [25]) },
)
const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('submit' as const),
      user,
      generation,
      shapes: fc.array(heights, { minLength: 1, maxLength: 1 }),
      extra: wei,
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('batch' as const),
      user,
      generation,
      shapes: fc.array(heights, { minLength: 1, maxLength: 5 }),
      extra: wei,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('underpay' as const),
      user,
      generation,
      heights,
      short: fc.bigInt({ min: 1n, max: 1000n }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('withdrawSurplus' as const), user }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('donate' as const), user, amount: wei }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('settings' as const),
      bps: fc.bigInt({ min: 0n, max: 2_000n }),
      baseReward: wei,
      treasury: user,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('claim' as const), user, index: fc.bigInt({ min: 0n, max: 3n }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('withdrawPayments' as const),
      payee: fc.constantFrom(...USERS, FOUNDATION),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('wait' as const),
      blocks: fc.integer({ min: 1, max: 12 }),
      seconds: fc.integer({ min: 1, max: 3_000 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('register' as const),
      user,
      stake: wei,
      capacity: fc.bigInt({ min: 0n, max: 1000n }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constantFrom('heartbeat' as const, 'drain' as const, 'leave' as const, 'withdrawStake' as const),
      user,
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('topUp' as const), user, amount: wei }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('markStale' as const), id: fc.integer({ min: 1, max: 4 }) }) },
)
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never

/** What the books must say, kept apart from the contracts. */
type Books = {
  readonly surplus: Map<number, bigint>
  /** Fees charged, and the part of them that the treasury takes at the rate of the time. */
  fees: bigint
  serviceFees: bigint
  bps: bigint
  donated: bigint
  /** Everything that anybody has. */
  readonly sum: bigint
}

test('no wei appears, disappears or changes its owner, whatever people do in whatever order', async () => {
  const property = fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 16 }), async (steps) => {
    await chain.rpc('evm_revert', [fresh])
    fresh = await chain.rpc('evm_snapshot')
    const books: Books = { surplus: new Map(), fees: 0n, serviceFees: 0n, bps: 0n, donated: 0n, sum: await sumOfAll() }
    for (const one of steps) {
      await perform(one, books)
      await audit(books)
    }
  })
  await fc.assert(property, runs(0.3))
})

async function perform(step: Step, books: Books): Promise<void> {
  switch (step.kind) {
    case 'submit':
    case 'batch': {
      const fee = feeOf(step.shapes)
      await expectOk(submitCall(step.user, step.generation, step.shapes, fee + step.extra))
      books.fees += fee
      books.serviceFees += (fee * books.bps) / 10_000n
      books.surplus.set(step.user, (books.surplus.get(step.user) ?? 0n) + step.extra)
      return
    }
    case 'underpay': {
      const fee = feeOf([step.heights])
      const paid = fee - (step.short < fee ? step.short : fee)
      const sectors = fee / PRICE
      await expectFailure(submitCall(step.user, step.generation, [step.heights], paid), 'NotEnoughFee', [
        PRICE,
        sectors,
        paid,
      ])
      return
    }
    case 'withdrawSurplus': {
      const call = network.call(address(step.user), 'flow', 'withdrawSurplus')
      const due = books.surplus.get(step.user) ?? 0n
      if (due === 0n) return expectFailure(call, 'NothingToWithdraw')
      const before = await balanceOf(chain, address(step.user))
      await expectOk(call)
      expect((await balanceOf(chain, address(step.user))) - before).toBe(due)
      books.surplus.set(step.user, 0n)
      return
    }
    case 'donate':
      await expectOk(network.call(address(step.user), 'reward', 'donate', [], step.amount))
      books.donated += step.amount
      return
    case 'settings':
      await expectOk(network.call(address(FOUNDATION), 'reward', 'setServiceFeeRate', [step.bps]))
      await expectOk(network.call(address(FOUNDATION), 'reward', 'setTreasury', [address(step.treasury)]))
      await expectOk(network.call(network.deployer, 'reward', 'setBaseReward', [step.baseReward]))
      books.bps = step.bps
      return
    case 'claim':
      return expectOk(
        network.call(address(MINER), 'reward', 'claimMineReward', [step.index, address(step.user), ZERO_HASH]),
      )
    case 'withdrawPayments':
      return tryIt(network.call(address(1), 'reward', 'withdrawPayments', [address(step.payee)]))
    case 'wait':
      return advance(chain, step)
    case 'register': {
      const args = [address(20 + step.user), `http://node${step.user}`, ZERO_HASH, step.capacity]
      return tryIt(network.call(address(step.user), 'storageRegistry', 'register', args, step.stake))
    }
    case 'topUp': {
      const args = [address(20 + step.user), 'http://elsewhere', ZERO_HASH, 5n]
      return tryIt(network.call(address(step.user), 'storageRegistry', 'update', args, step.amount))
    }
    case 'markStale':
      return tryIt(network.call(address(1), 'storageRegistry', 'markStale', [step.id]))
    case 'heartbeat':
    case 'drain':
    case 'leave':
    case 'withdrawStake':
      return tryIt(network.call(address(step.user), 'storageRegistry', step.kind))
  }
}

/** Every contract holds what it owes, to the wei, and all that people paid in is somewhere. */
async function audit(books: Books): Promise<void> {
  const { flow, market, reward, mine, storageRegistry } = network.addresses
  const [inFlow, inMarket, inReward, inMine, inRegistry] = await Promise.all(
    [flow, market, reward, mine, storageRegistry].map((contract) => balanceOf(chain, contract)),
  )
  const surplus = await Promise.all(ACTORS.map((actor) => network.read<bigint>('flow', 'surplusOf', [address(actor)])))
  expect(inFlow).toBe(total(surplus))
  expect(USERS.map((actor) => surplus[ACTORS.indexOf(actor)])).toEqual(
    USERS.map((actor) => books.surplus.get(actor) ?? 0n),
  )
  expect(inMarket).toBe(0n)
  expect(inMine).toBe(0n)

  const [length] = await network.read<readonly [bigint]>('flow', 'tree')
  const items = await Promise.all(
    Array.from({ length: Number(length / BigInt(REWARD_ITEM_CHUNKS)) + 1 }, (_, i) =>
      network.read<Item>('reward', 'rewards', [BigInt(i)]),
    ),
  )
  const basePool = await network.read<bigint>('reward', 'totalBaseReward')
  const credits = total(
    await Promise.all(ACTORS.map((actor) => network.read<bigint>('reward', 'payments', [address(actor)]))),
  )
  const held = total(items.map(({ lockedReward, claimableReward }) => lockedReward + claimableReward))
  expect(inReward).toBe(held + basePool + credits)
  // The items were given the fees less the treasury's part: nothing more, nothing twice, nothing lost in rounding.
  const given = total(items.map((item) => item.lockedReward + item.claimableReward + item.distributedReward))
  expect(given).toBe(books.fees - books.serviceFees)
  expect(basePool).toBeLessThanOrEqual(books.donated)

  const members = await Promise.all(
    Array.from({ length: MEMBER_IDS }, (_, i) =>
      network.read<{ stake: bigint }>('storageRegistry', 'memberOf', [i + 1]),
    ),
  )
  const stakes = total(members.map(({ stake }) => stake))
  const left = total(
    await Promise.all(
      ACTORS.map((actor) => network.read<bigint>('storageRegistry', 'withdrawableStakeOf', [address(actor)])),
    ),
  )
  expect(inRegistry).toBe(stakes + left)

  expect(await sumOfAll()).toBe(books.sum)
}

/** All actors and contracts together: gas is free here, so it never changes. */
async function sumOfAll(): Promise<bigint> {
  const holders = [...ACTORS.map(address), ...Object.values(network.addresses)]
  return total(await Promise.all(holders.map((holder) => balanceOf(chain, holder))))
}

function submitCall(from: number, way: 'new' | 'old', shapes: readonly (readonly number[])[], value: bigint): Call {
  const entries = shapes.map((shape, i) => submissionOf(shape, i))
  const submitter = address(3)
  if (entries.length === 1) {
    return way === 'new'
      ? network.call(address(from), 'flow', flowSelectors.submit, [{ data: entries[0], submitter }], value)
      : network.call(address(from), 'flow', flowSelectors.submitOld, [entries[0]], value)
  }
  return way === 'new'
    ? network.call(
        address(from),
        'flow',
        flowSelectors.batchSubmit,
        [entries.map((data) => ({ data, submitter }))],
        value,
      )
    : network.call(address(from), 'flow', flowSelectors.batchSubmitOld, [entries], value)
}

async function expectOk(call: Call): Promise<void> {
  const [receipt] = await sendAll(chain, [call])
  if (receipt!.status !== 'ok') throw new Error(JSON.stringify(await attempt(chain, call), (_, v) => String(v)))
}

async function expectFailure(call: Call, error: string, args?: readonly unknown[]): Promise<void> {
  expect(await attempt(chain, call)).toMatchObject({ ok: false, error, ...(args ? { args } : {}) })
  await tryIt(call)
}

/** May fail, by rules tested elsewhere; the books must be right either way. */
async function tryIt(call: Call): Promise<void> {
  await sendAll(chain, [call])
}

function feeOf(shapes: readonly (readonly number[])[]): bigint {
  return PRICE * total(shapes.map((shape) => sectorsOf(submissionOf(shape, 0).nodes)))
}

function total(amounts: readonly bigint[]): bigint {
  return amounts.reduce((sum, amount) => sum + amount, 0n)
}

function address(actor: number): Address {
  return chain.accounts[actor]!
}

type Item = { readonly lockedReward: bigint; readonly claimableReward: bigint; readonly distributedReward: bigint }
