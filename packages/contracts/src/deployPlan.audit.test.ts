import { readFileSync } from 'node:fs'
import path from 'node:path'
import { type Abi, type AbiFunction, type Hex, encodeDeployData, encodeFunctionData } from 'viem'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type Address, type Anvil, startAnvil } from '../test/anvil.ts'
import { compileForTest } from '../test/compile.ts'
import { type Network, type Receipt, attempt, balanceOf, deployNetwork, send } from '../test/network.ts'
import { ZERO_HASH, sectorsOf, submissionOf } from '../test/submissions.ts'
import { type ContractName, bytecodes, deployPlan, deployedAddresses, defaultDeployParams } from './deployPlan.ts'
import { flowSelectors } from './flow.ts'

// The findings of the audits of the reference (spec/users.md 4.2), each as the attack it warns of. Findings 3.1 and 4.2 are
// arithmetic and stand in reward.test.ts, 4.3 in flow.contexts.test.ts; conservation of money in deployPlan.prop.test.ts.

const NAMES = ['mine', 'market', 'reward', 'flow', 'storageRegistry'] as const
const PRICE = 30_733_644_962n

let chain: Anvil
let network: Network
let reentrant: { readonly abi: Abi; readonly bytecode: Hex }
beforeAll(async () => {
  chain = await startAnvil()
  reentrant = compileForTest('Reentrant')
})
afterAll(() => chain[Symbol.asyncDispose]())
beforeEach(async () => {
  network = await deployNetwork(chain)
})

const stranger = () => chain.accounts[7]!
const data = submissionOf([0], 1)
const fee = PRICE * sectorsOf(data.nodes)
const submit = (from: Address, value: bigint) => network.call(from, 'flow', flowSelectors.submitOld, [data], value)
const balances = () => Promise.all(NAMES.map((name) => balanceOf(chain, network.addresses[name])))
const eventsOf = (receipt: Receipt) => network.events(receipt).map(({ eventName }) => eventName)

describe('finding 3.2: storage that an upgrade could corrupt', () => {
  test('no contract can be upgraded: none runs foreign code on its own storage, none can destroy itself', async () => {
    for (const name of NAMES) {
      const code = (await chain.rpc('eth_getCode', [network.addresses[name], 'latest'])) as Hex
      const used = opcodesOf(code)
      expect(used.size, name).toBeGreaterThan(20)
      for (const opcode of [DELEGATECALL, CALLCODE, SELFDESTRUCT])
        expect(used.has(opcode), `${name} ${opcode}`).toBe(false)
    }
  })

  test('no two variables share a byte, in any committed layout', () => {
    const file = path.resolve(import.meta.dirname, '../solidity/storageLayout.json')
    const layouts = JSON.parse(readFileSync(file, 'utf8')) as Record<string, readonly Variable[]>
    expect(Object.keys(layouts)).toEqual(
      expect.arrayContaining(['Flow', 'FixedPrice', 'ChunkLinearReward', 'Mine', 'StorageRegistry']),
    )
    for (const [owner, variables] of Object.entries(layouts)) {
      let end = 0
      for (const { slot, offset, sizeBytes, label } of variables) {
        const start = slot * 32 + offset
        expect(start, `${owner}.${label}`).toBeGreaterThanOrEqual(end)
        end = start + sizeBytes
      }
    }
  })
})

describe('who may call what', () => {
  const permission = 'Sender does not have permission'

  test('only Flow charges fees: nobody, the deployer included, can book what the market holds', async () => {
    for (const from of [stranger(), network.deployer, network.addresses.reward]) {
      expect(await attempt(chain, network.call(from, 'market', 'chargeFee', [1n, 1n, 0n]))).toMatchObject({
        ok: false,
        error: permission,
      })
    }
  })

  test('only the market fills rewards', async () => {
    for (const [from, value] of [
      [stranger(), 5n],
      [network.deployer, 5n],
      [network.addresses.flow, 0n],
    ] as const) {
      expect(await attempt(chain, network.call(from, 'reward', 'fillReward', [1n, 1n], value))).toMatchObject({
        ok: false,
        error: permission,
      })
    }
  })

  test('only the mine claims rewards, and the mine of today never does', async () => {
    await send(chain, submit(stranger(), fee))
    for (const from of [stranger(), network.deployer, network.addresses.flow, network.addresses.market]) {
      const call = network.call(from, 'reward', 'claimMineReward', [0n, stranger(), ZERO_HASH])
      expect(await attempt(chain, call)).toMatchObject({ ok: false, error: permission })
    }
    expect(await network.read('mine', 'canSubmit')).toBe(false)
    expect(await network.read('mine', 'poraTarget')).toBe(0n)
    expect(await network.read('mine', 'computeWorkerContext', [ZERO_HASH])).toMatchObject({
      poraTarget: 0n,
      maxShards: 0n,
    })
  })

  test('settings belong to their roles', async () => {
    const role = 'AccessControlUnauthorizedAccount'
    for (const [name, functionName, args, error] of [
      ['flow', 'pause', [], role],
      ['flow', 'unpause', [], role],
      ['market', 'setPricePerSector', [0n], role],
      ['reward', 'setBaseReward', [1n], role],
      ['reward', 'setServiceFeeRate', [1n], permission],
      ['reward', 'setTreasury', [stranger()], permission],
      ['reward', 'setFoundationAdmin', [stranger()], permission],
      ['flow', 'grantRole', [ZERO_HASH, stranger()], role],
      ['market', 'grantRole', [ZERO_HASH, stranger()], role],
      ['reward', 'grantRole', [ZERO_HASH, stranger()], role],
    ] as const) {
      expect(await attempt(chain, network.call(stranger(), name, functionName, args)), functionName).toMatchObject({
        ok: false,
        error,
      })
    }
  })

  test('parameters that the reference lets anyone set while they are zero cannot be set at all', async () => {
    for (const from of [stranger(), network.deployer]) {
      const call = network.call(from, 'flow', 'setParams', [1n, 1n, stranger()])
      expect(await attempt(chain, call)).toMatchObject({ ok: false, error: 'ParamsAlreadySet' })
    }
  })
})

describe('initialisation', () => {
  const argumentsOf = () => {
    const { mine, market, reward, flow } = network.addresses
    return [
      [
        'mine',
        [
          flow,
          reward,
          {
            difficulty: 0n,
            targetMineBlocks: 0n,
            targetSubmissions: 0n,
            maxShards: 0n,
            nSubtasks: 0n,
            subtaskInterval: 0n,
          },
        ],
      ],
      ['market', [1n, flow, reward]],
      ['reward', [market, mine, stranger()]],
      ['flow', [market, 10n]],
    ] as const
  }

  test('happens once', async () => {
    for (const [name, args] of argumentsOf()) {
      const call = network.call(network.deployer, name, 'initialize', args)
      expect(await attempt(chain, call), name).toMatchObject({ ok: false, error: 'InvalidInitialization' })
    }
  })

  test('cannot be snatched by a stranger between deployment and the call', async () => {
    const plan = deployPlan(
      { ...defaultDeployParams, foundationAdmin: stranger() },
      deployedAddresses(() => stranger()),
    )
    for (const step of plan) {
      if (step.kind !== 'create' || step.name === 'storageRegistry') continue
      const creation = encodeDeployData({ abi: step.abi as Abi, bytecode: step.bytecode, args: step.args })
      const { contractAddress } = await send(chain, { from: network.deployer, data: creation })
      const [, args] = argumentsOf().find(([name]) => name === step.name)!
      const call = { ...network.call(stranger(), step.name, 'initialize', args), to: contractAddress! }
      const error = step.name === 'mine' ? 'NotDeployer' : 'AccessControlUnauthorizedAccount'
      expect(await attempt(chain, call), step.name).toMatchObject({ ok: false, error })
      expect(await attempt(chain, { ...call, from: network.deployer }), step.name).toMatchObject({ ok: true })
    }
  })

  test('refuses what could never work: no market, no blocks per epoch, no release time, no stake price', async () => {
    const creation = (name: ContractName, args: readonly unknown[]) => {
      const step = deployPlan({ ...defaultDeployParams, foundationAdmin: stranger() }, network.addresses).find(
        (one) => one.name === name,
      )!
      return encodeDeployData({ abi: step.abi as Abi, bytecode: bytecodes[name], args })
    }
    const { contractAddress } = await send(chain, { from: network.deployer, data: creation('flow', [0n]) })
    const initialize = (args: readonly unknown[]) =>
      attempt(chain, { ...network.call(network.deployer, 'flow', 'initialize', args), to: contractAddress! })
    expect(await initialize([`0x${'00'.repeat(20)}`, 1n])).toMatchObject({ ok: false, error: 'MarketInvalid' })
    expect(await initialize([network.addresses.market, 0n])).toMatchObject({
      ok: false,
      error: 'BlocksPerEpochInvalid',
    })
    for (const bad of [
      creation('reward', [0n]),
      creation('storageRegistry', [0n, 30n, 60n]),
      creation('storageRegistry', [1n, 0n, 60n]),
    ]) {
      await expect(send(chain, { from: network.deployer, data: bad })).rejects.toThrow('transaction failed')
    }
  })
})

describe('money', () => {
  test("one user's surplus never pays another's fee (the reference checks the whole balance)", async () => {
    await send(chain, submit(chain.accounts[1]!, fee * 10n))
    expect(await attempt(chain, submit(stranger(), fee - 1n))).toMatchObject({
      ok: false,
      error: 'NotEnoughFee',
      args: [PRICE, 1n, fee - 1n],
    })
    expect(await attempt(chain, submit(stranger(), 0n))).toMatchObject({
      ok: false,
      error: 'NotEnoughFee',
      args: [PRICE, 1n, 0n],
    })
    expect(await network.read('flow', 'surplusOf', [chain.accounts[1]])).toBe(fee * 9n)
  })

  test('an overpayment is credited to the payer, in one sum per batch, and paid back on demand', async () => {
    const payer = chain.accounts[1]!
    const submitter = chain.accounts[2]!
    const entries = Array.from({ length: 5 }, () => ({ data, submitter }))
    const receipt = await send(
      chain,
      network.call(payer, 'flow', flowSelectors.batchSubmit, [entries], fee * 5n + 123n),
    )
    expect(eventsOf(receipt).filter((name) => name === 'Credited')).toHaveLength(1)
    expect(await network.read('flow', 'surplusOf', [payer])).toBe(123n)
    expect(await network.read('flow', 'surplusOf', [submitter])).toBe(0n)
    const before = await balanceOf(chain, payer)
    await send(chain, network.call(payer, 'flow', 'withdrawSurplus'))
    expect(await balanceOf(chain, payer)).toBe(before + 123n)
    const again = network.call(payer, 'flow', 'withdrawSurplus')
    expect(await attempt(chain, again)).toMatchObject({ ok: false, error: 'NothingToWithdraw' })
  })

  test('no contract takes money outside the functions that book it', async () => {
    for (const name of NAMES) {
      const plain = { from: stranger(), to: network.addresses[name], data: '0x' as Hex, value: 1n }
      expect(await attempt(chain, plain), name).toMatchObject({ ok: false })
      const unknown = { ...plain, data: '0xdeadbeef' as Hex }
      expect(await attempt(chain, unknown), name).toMatchObject({ ok: false })
    }
    const payable = functionsOf((item) => item.stateMutability === 'payable')
    expect([...new Set(payable)].sort()).toEqual(
      [
        'flow.batchSubmit',
        'flow.submit',
        'reward.donate',
        'reward.fillReward',
        'storageRegistry.register',
        'storageRegistry.update',
      ].sort(),
    )
  })

  test('money forced into a contract harms nobody: the market passes it on, the others owe no less', async () => {
    const helper = await deployReentrant()
    for (const name of NAMES) {
      const args = [network.addresses[name]]
      await send(chain, {
        from: stranger(),
        to: helper,
        data: encodeFunctionData({ abi: reentrant.abi, functionName: 'force', args }),
        value: 1_000n,
      })
    }
    await send(chain, submit(stranger(), fee + 5n))
    expect(await balanceOf(chain, network.addresses.market)).toBe(0n)
    expect((await network.read<{ lockedReward: bigint }>('reward', 'rewards', [0n])).lockedReward).toBe(fee + 1_000n)
    await send(chain, network.call(stranger(), 'flow', 'withdrawSurplus'))
    expect(await balanceOf(chain, network.addresses.flow)).toBe(1_000n)
  })

  test('no admin drain: no function moves money to anyone but the owner of a credit', () => {
    const names = functionsOf(() => true)
    const suspicious = names.filter((name) =>
      /withdraw|drain|sweep|rescue|recover|emergency|skim|migrate|upgrade|transfer|execute|destroy|kill/i.test(name),
    )
    // Each pays msg.sender (or the named payee) its own credit. `drain` takes a member out of the active set.
    expect(suspicious.sort()).toEqual(
      [
        'flow.withdrawSurplus',
        'reward.withdrawPayments',
        'storageRegistry.drain',
        'storageRegistry.withdrawStake',
        'storageRegistry.withdrawableStakeOf',
      ].sort(),
    )
  })

  test('no admin drain: the admins together, calling all they may, leave every contract with what it held', async () => {
    const admin = network.deployer
    await send(chain, submit(stranger(), fee * 3n))
    await send(chain, network.call(stranger(), 'reward', 'donate', [], 999n))
    await send(
      chain,
      network.call(stranger(), 'storageRegistry', 'register', [stranger(), 'http://a', ZERO_HASH, 1n], 10n ** 10n),
    )
    const before = await balances()
    for (const [name, functionName, args] of [
      ['flow', 'pause', []],
      ['flow', 'unpause', []],
      ['market', 'setPricePerSector', [1n]],
      ['reward', 'setBaseReward', [10n ** 18n]],
      ['reward', 'setServiceFeeRate', [2_000n]],
      ['reward', 'setTreasury', [admin]],
      ['reward', 'setFoundationAdmin', [admin]],
    ] as const) {
      await send(chain, network.call(admin, name, functionName, args))
    }
    for (const [name, functionName, args] of [
      ['flow', 'withdrawSurplus', []],
      ['reward', 'withdrawPayments', [admin]],
      ['storageRegistry', 'withdrawStake', []],
      ['storageRegistry', 'leave', []],
      ['reward', 'setServiceFeeRate', [2_001n]],
    ] as const) {
      expect(await attempt(chain, network.call(admin, name, functionName, args)), functionName).toMatchObject({
        ok: false,
      })
    }
    expect(await balances()).toEqual(before)
  })
})

describe('reentrancy on pull payments', () => {
  const run = (helper: Address, name: 'flow' | 'reward' | 'storageRegistry', inner: Hex, value = 0n) => {
    const args = [network.addresses[name], inner]
    return {
      from: stranger(),
      to: helper,
      data: encodeFunctionData({ abi: reentrant.abi, functionName: 'run', args }),
      value,
    }
  }
  const arm = (helper: Address, target: Address, again: Hex, refuses = false) => {
    const args = [target, again, refuses]
    return send(chain, {
      from: stranger(),
      to: helper,
      data: encodeFunctionData({ abi: reentrant.abi, functionName: 'arm', args }),
    })
  }
  const successes = async (helper: Address) => {
    const call = {
      from: stranger(),
      to: helper,
      data: encodeFunctionData({ abi: reentrant.abi, functionName: 'successes' }),
    }
    const outcome = await attempt(chain, call)
    return outcome.ok ? BigInt(outcome.data) : -1n
  }

  test('a payee that withdraws again while being paid its surplus gets it once', async () => {
    const helper = await deployReentrant()
    await send(chain, submit(chain.accounts[1]!, fee + 500n))
    await send(
      chain,
      run(helper, 'flow', network.call(helper, 'flow', flowSelectors.submitOld, [data]).data, fee + 500n),
    )
    const withdraw = network.call(helper, 'flow', 'withdrawSurplus').data
    await arm(helper, network.addresses.flow, withdraw)
    await send(chain, run(helper, 'flow', withdraw))
    expect(await balanceOf(chain, helper)).toBe(500n)
    expect(await successes(helper)).toBe(0n)
    expect(await balanceOf(chain, network.addresses.flow)).toBe(500n)
  })

  test('a treasury that withdraws again while being paid its fees gets them once', async () => {
    const helper = await deployReentrant()
    await send(chain, network.call(network.deployer, 'reward', 'setServiceFeeRate', [1_000n]))
    await send(chain, network.call(network.deployer, 'reward', 'setTreasury', [helper]))
    await send(chain, submit(stranger(), fee))
    const withdraw = network.call(helper, 'reward', 'withdrawPayments', [helper]).data
    await arm(helper, network.addresses.reward, withdraw)
    await send(chain, run(helper, 'reward', withdraw))
    expect(await balanceOf(chain, helper)).toBe(fee / 10n)
    expect(await successes(helper)).toBe(0n)
    expect(await balanceOf(chain, network.addresses.reward)).toBe(fee - fee / 10n)
  })

  test('a member that withdraws again while being paid its stake gets it once', async () => {
    network = await deployNetwork(chain, { registry: { leaveDelaySeconds: 0n } })
    const helper = await deployReentrant()
    const stake = 10n ** 12n
    await send(
      chain,
      network.call(stranger(), 'storageRegistry', 'register', [stranger(), 'http://b', ZERO_HASH, 1n], stake),
    )
    const register = network.call(helper, 'storageRegistry', 'register', [helper, 'http://a', ZERO_HASH, 1n]).data
    await send(chain, run(helper, 'storageRegistry', register, stake))
    await send(chain, run(helper, 'storageRegistry', network.call(helper, 'storageRegistry', 'drain').data))
    await send(chain, run(helper, 'storageRegistry', network.call(helper, 'storageRegistry', 'leave').data))
    const withdraw = network.call(helper, 'storageRegistry', 'withdrawStake').data
    await arm(helper, network.addresses.storageRegistry, withdraw)
    await send(chain, run(helper, 'storageRegistry', withdraw))
    expect(await balanceOf(chain, helper)).toBe(stake)
    expect(await successes(helper)).toBe(0n)
    expect(await balanceOf(chain, network.addresses.storageRegistry)).toBe(stake)
  })

  test('a payee that refuses its money harms only itself, and keeps its credit', async () => {
    const helper = await deployReentrant()
    await send(
      chain,
      run(helper, 'flow', network.call(helper, 'flow', flowSelectors.submitOld, [data]).data, fee + 500n),
    )
    await arm(helper, network.addresses.flow, '0x', true)
    const withdraw = run(helper, 'flow', network.call(helper, 'flow', 'withdrawSurplus').data)
    expect(await attempt(chain, withdraw)).toMatchObject({ ok: false, error: 'FailedInnerCall' })
    expect(await network.read('flow', 'surplusOf', [helper])).toBe(500n)
    await send(chain, submit(stranger(), fee))
  })
})

test('every change of a setting and every movement of money is an event', async () => {
  const admin = network.deployer
  const cases = [
    [network.call(admin, 'flow', 'pause'), ['Paused']],
    [network.call(admin, 'flow', 'unpause'), ['Unpaused']],
    [network.call(admin, 'market', 'setPricePerSector', [PRICE]), ['PricePerSectorChanged']],
    [network.call(admin, 'reward', 'setBaseReward', [1n]), ['BaseRewardChanged']],
    [network.call(admin, 'reward', 'setServiceFeeRate', [100n]), ['ServiceFeeRateChanged']],
    [network.call(admin, 'reward', 'setTreasury', [admin]), ['TreasuryChanged']],
    [network.call(admin, 'reward', 'setFoundationAdmin', [admin]), ['FoundationAdminChanged']],
    [network.call(admin, 'reward', 'donate', [], 5n), ['Donated']],
    [submit(stranger(), fee + 1n), ['Credited', 'Credited', 'RewardLocked', 'Submit']],
    [network.call(stranger(), 'flow', 'withdrawSurplus'), ['Withdrawn']],
    [network.call(admin, 'reward', 'withdrawPayments', [admin]), ['Withdrawn']],
    [network.call(admin, 'flow', 'grantRole', [ZERO_HASH, stranger()]), ['RoleGranted']],
    [
      network.call(stranger(), 'storageRegistry', 'register', [stranger(), 'http://a', ZERO_HASH, 1n], 10n ** 10n),
      ['MemberChanged'],
    ],
    [network.call(stranger(), 'storageRegistry', 'heartbeat'), ['Heartbeat']],
    [network.call(stranger(), 'storageRegistry', 'drain'), ['DrainStarted', 'MemberChanged']],
  ] as const
  for (const [call, names] of cases) expect(eventsOf(await send(chain, call))).toEqual(names)
})

async function deployReentrant(): Promise<Address> {
  const { contractAddress } = await send(chain, { from: stranger(), data: reentrant.bytecode })
  return contractAddress!
}

/** `contract.function` of the whole plan. */
function functionsOf(which: (item: AbiFunction) => boolean): readonly string[] {
  return deployPlan({ ...defaultDeployParams, foundationAdmin: stranger() }, network.addresses)
    .filter(({ kind }) => kind === 'create')
    .flatMap(({ name, abi }) =>
      (abi as Abi).flatMap((item) => (item.type === 'function' && which(item) ? [`${name}.${item.name}`] : [])),
    )
}

const DELEGATECALL = 0xf4
const CALLCODE = 0xf2
const SELFDESTRUCT = 0xff

/** Opcodes of a runtime code without the data of PUSH instructions; code that it creates others from counts as its own. */
function opcodesOf(code: Hex): Set<number> {
  const bytes = Buffer.from(code.slice(2), 'hex')
  const found = new Set<number>()
  for (let i = 0; i < bytes.length; i++) {
    const opcode = bytes[i]!
    found.add(opcode)
    if (opcode >= 0x60 && opcode <= 0x7f) i += opcode - 0x5f
  }
  return found
}

type Variable = { readonly slot: number; readonly offset: number; readonly label: string; readonly sizeBytes: number }
