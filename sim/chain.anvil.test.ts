import { flowAbi, flowSelectors, storageRegistryAbi } from '@weightless/contracts'
import { SUBMIT_TOPIC } from '@weightless/sdk'
import { decodeErrorResult, decodeFunctionResult, encodeFunctionData, toEventSelector, type Hex } from 'viem'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startAnvil, type Anvil } from '../packages/contracts/test/anvil.ts'
import {
  advance,
  attempt,
  balanceOf,
  deployNetwork,
  sendAll,
  timestamp,
  type Network,
} from '../packages/contracts/test/network.ts'
import { sectorsOf, submissionOf, type SubmissionData } from '../packages/contracts/test/submissions.ts'
import { createSimChain, FLOW, REGISTRY, type SimChain } from './chain.ts'
import { createChance } from './chance.ts'

// The chain of the simulator beside the real contracts: the same calls give the same outcome, the same events, and leave the same
// roots, money and members.

let anvil: Anvil
let network: Network
beforeAll(async () => {
  anvil = await startAnvil()
  network = await deployNetwork(anvil)
})
afterAll(() => anvil[Symbol.asyncDispose]())

const PRICE = 30_733_644_962n
const CALLS = 60

type Step = {
  readonly from: number
  readonly to: 'flow' | 'storageRegistry'
  readonly data: Hex
  readonly value: bigint
  readonly laterS?: number
}

test('the chain of the simulator does what the contracts do', async () => {
  const chain = createSimChain()
  for (const address of anvil.accounts) chain.fund(address, 10n ** 24n)
  for (const step of steps(createChance(2026))) {
    const from = anvil.accounts[step.from]!
    const real = { from, to: network.addresses[step.to], data: step.data, value: step.value }
    // The same time on both: now and then longer than a member may be silent.
    await advance(anvil, { seconds: step.laterS ?? 1 })
    chain.mine(Number(await timestamp(anvil)))
    const refusal = await refusalOf(chain, step, from)
    const outcome = await attempt(anvil, real)
    expect(refusal, 'what an estimate says').toBe(outcome.ok ? undefined : outcome.error)
    const [receipt] = await sendAll(anvil, [real])
    const simulated = chain.perform(
      { from, to: step.to === 'flow' ? FLOW : REGISTRY, data: step.data, valueWei: step.value },
      Number(await timestamp(anvil)),
    )
    expect(simulated.status).toBe(receipt!.status)
    expect(simulated.logs.map(bare)).toEqual(receipt!.logs.filter(isKnown).map(bare))
  }
  const { surplus, feesWei, stakesWei } = chain.books()
  const count = Number(await network.read<bigint>('flow', 'numSubmissions'))
  expect(count).toBeGreaterThan(CALLS / 3)
  for (let seq = 0; seq < count; seq++) {
    const data = encodeFunctionData({ abi: flowAbi, functionName: 'getFlowRootByTxSeq', args: [BigInt(seq)] })
    expect(await ask(chain, 'eth_call', [{ to: FLOW, data }])).toBe(
      await network.read('flow', 'getFlowRootByTxSeq', [BigInt(seq)]),
    )
  }
  expect(feesWei).toBe(await balanceOf(anvil, network.addresses.reward))
  expect(stakesWei).toBe(await balanceOf(anvil, network.addresses.storageRegistry))
  for (const account of anvil.accounts.slice(0, 6))
    expect(surplus.get(account.toLowerCase()) ?? 0n).toBe(await network.read('flow', 'surplusOf', [account]))
  // One more than there ever were.
  for (let id = 1; id <= 8; id++) {
    const functionName = 'memberOf'
    const data = encodeFunctionData({ abi: storageRegistryAbi, functionName, args: [id] })
    const answer = (await ask(chain, 'eth_call', [{ to: REGISTRY, data }])) as Hex
    expect(decodeFunctionResult({ abi: storageRegistryAbi, functionName, data: answer })).toEqual(
      await network.read('storageRegistry', functionName, [id]),
    )
  }
  const version = await network.read<bigint>('storageRegistry', 'version')
  for (let at = 0n; at <= version; at++) {
    const data = encodeFunctionData({ abi: storageRegistryAbi, functionName: 'membershipHash', args: [at] })
    expect(await ask(chain, 'eth_call', [{ to: REGISTRY, data }])).toBe(
      await network.read('storageRegistry', 'membershipHash', [at]),
    )
  }
})

/** Entries in both forms, one and many, with the fee, above it and below it; withdrawals; members that come and change. */
function* steps(chance: ReturnType<typeof createChance>): Generator<Step> {
  for (let i = 0; i < CALLS; i++) {
    const from = chance.below(6)
    const submissions = Array.from({ length: chance.below(4) }, (_, at) => submissionOf(heightsOf(chance), 10 * i + at))
    const sectors = submissions.reduce((sum, { nodes }) => sum + sectorsOf(nodes), 0n)
    const value = sectors * PRICE + [0n, 0n, 1n, 777n, -1n][chance.below(5)]!
    const endpoint = `http://${chance.below(100)}.example`
    const member = [submitterOf(from), endpoint, `0x${'ab'.repeat(32)}`, BigInt(1 + chance.below(50))] as const
    switch (chance.below(11)) {
      case 0:
        yield {
          from,
          to: 'flow',
          data: encodeFunctionData({ abi: flowAbi, functionName: 'withdrawSurplus' }),
          value: 0n,
        }
        break
      case 1: {
        const data = encodeFunctionData({ abi: storageRegistryAbi, functionName: 'register', args: member })
        yield { from, to: 'storageRegistry', data, value: 10_000_000_000n }
        break
      }
      case 4:
        if (chance.below(3) === 0)
          yield {
            from,
            to: 'storageRegistry',
            data: encodeFunctionData({ abi: storageRegistryAbi, functionName: 'drain' }),
            value: 0n,
          }
        break
      case 2: {
        const own = submissionOf(heightsOf(chance), 10 * i)
        const data = call(flowSelectors.submitOld, [own])
        yield { from, to: 'flow', data, value: sectorsOf(own.nodes) * PRICE }
        break
      }
      case 3:
        if (submissions.length === 1) {
          const data = call(flowSelectors.submit, [withSubmitter(submissions[0]!, from)])
          yield { from, to: 'flow', data, value: value < 0n ? 0n : value }
        }
        break
      case 5:
        yield {
          from,
          to: 'storageRegistry',
          data: encodeFunctionData({ abi: storageRegistryAbi, functionName: 'markStale', args: [1 + chance.below(4)] }),
          value: 0n,
          laterS: 10 + chance.below(30),
        }
        break
      case 6:
        yield {
          from,
          to: 'storageRegistry',
          data: encodeFunctionData({ abi: storageRegistryAbi, functionName: 'heartbeat' }),
          value: 0n,
        }
        break
      default: {
        const data = call(flowSelectors.batchSubmit, [submissions.map((one) => withSubmitter(one, from))])
        yield { from, to: 'flow', data, value: value < 0n ? 0n : value }
      }
    }
  }
}

const call = (selector: string, args: readonly unknown[]): Hex =>
  network.call(anvil.accounts[0]!, 'flow', selector, args).data
const submitterOf = (from: number): Hex => `0x${String(from + 1).padStart(40, '0')}`
const withSubmitter = (data: SubmissionData, from: number) => ({ data, submitter: submitterOf(from) })

function heightsOf(chance: ReturnType<typeof createChance>): readonly number[] {
  const first = chance.below(12)
  return [first, first - 1 - chance.below(3)].filter((height) => height >= 0).slice(0, 1 + chance.below(2))
}

/** Both chains give the same for everything that does not depend on where the contracts live and what else they say. */
function bare(log: { readonly topics: readonly string[] } & { readonly [name: string]: unknown }): object {
  return { topics: log.topics, data: log['data'] }
}
const KNOWN: ReadonlySet<string> = new Set([
  SUBMIT_TOPIC,
  toEventSelector('MemberChanged(uint64,uint32,address,string,bytes32,uint256,uint8)'),
])
const isKnown = ({ topics }: { readonly topics: readonly string[] }): boolean => KNOWN.has(topics[0]!)

async function refusalOf(chain: SimChain, step: Step, from: string): Promise<string | undefined> {
  const to = step.to === 'flow' ? FLOW : REGISTRY
  const request = { from: from.toLowerCase(), to, data: step.data, value: `0x${step.value.toString(16)}` }
  const { error } = await answerOf(chain, 'eth_estimateGas', [request])
  if (error === undefined) return undefined
  return decodeErrorResult({ abi: [...flowAbi, ...storageRegistryAbi], data: error.data! }).errorName
}

type Answer = { readonly result?: unknown; readonly error?: { readonly data?: Hex } }
async function answerOf(chain: SimChain, method: string, params: readonly unknown[]): Promise<Answer> {
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })
  const response = await chain.handle(new Request('http://chain.test/', { method: 'POST', body }))
  return (await response.json()) as Answer
}
const ask = async (chain: SimChain, method: string, params: readonly unknown[]): Promise<unknown> =>
  (await answerOf(chain, method, params)).result
