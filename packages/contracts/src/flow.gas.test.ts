import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Anvil, startAnvil } from '../test/anvil.ts'
import { type Call, type Network, advance, attempt, deployNetwork, estimate, send, sendAll } from '../test/network.ts'
import { sectorsOf, submissionOf } from '../test/submissions.ts'
import { flowSelectors } from './flow.ts'

const PRICE = 30_733_644_962n
const RACERS = 32
const BLOCK_GAS = 30_000_000n
/** A transaction may not bring more on chains with EIP-7825. */
const TRANSACTION_GAS = 2n ** 24n
/** Shapes of 200 files, the same in every run: from one chunk to 4 MiB, one to four nodes. */
const shapes = Array.from({ length: 200 }, (_, i) => {
  const first = Math.max(i % 4, (i * 7) % 15)
  return Array.from({ length: 1 + (i % 4) }, (_, node) => first - node)
})

let chain: Anvil
let network: Network
beforeAll(async () => {
  chain = await startAnvil()
})
afterAll(() => chain[Symbol.asyncDispose]())

function submitCall(from: number, heights: readonly number[], seed = 1): Call {
  const data = submissionOf(heights, seed)
  const submitter = chain.accounts[from]!
  return network.call(submitter, 'flow', flowSelectors.submit, [{ data, submitter }], PRICE * sectorsOf(data.nodes))
}

describe('a submission costs nearly the same in every state of the tree', () => {
  const used: bigint[][] = [[], [], [], []]
  const estimates: bigint[][] = [[], [], [], []]

  beforeAll(async () => {
    network = await deployNetwork(chain)
    for (const [i, heights] of shapes.entries()) {
      const { gasUsed } = await send(chain, submitCall(1, heights, i))
      used[heights.length - 1]!.push(gasUsed)
      if (i % 10 !== 0) continue
      for (const nodes of [1, 2, 3, 4])
        estimates[nodes - 1]!.push(await estimate(chain, submitCall(2, [3, 2, 1, 0].slice(0, nodes))))
    }
  })

  test.each([1, 2, 3, 4])('%d nodes: 50 files within 50 000 gas of one another, none above 200 000', (nodes) => {
    const sorted = used[nodes - 1]!.toSorted((a, b) => Number(a - b))
    expect(sorted).toHaveLength(50)
    expect(sorted.at(-1)! - sorted[0]!).toBeLessThan(50_000n)
    expect(sorted.at(-1)!).toBeLessThan(200_000n)
  })

  test.each([1, 2, 3, 4])('%d nodes: the estimate of the same call is the same 20 times over', (nodes) => {
    const [first, ...others] = estimates[nodes - 1]!
    expect(others).toHaveLength(19)
    for (const other of others) expect(other).toBe(first)
  })
})

describe('the gas race: 32 accounts submit in one block, each with the gas it was told before', () => {
  const race = async (margin: (estimated: bigint) => bigint, between: () => Promise<void>) => {
    const calls = Array.from({ length: RACERS }, (_, i) => submitCall(i + 1, shapes[i * 5]!, 1000 + i))
    const estimated: Call[] = []
    for (const call of calls) estimated.push({ ...call, gas: margin(await estimate(chain, call)) })
    await between()
    const receipts = await sendAll(chain, estimated)
    expect(new Set(receipts.map(({ blockNumber }) => blockNumber)).size).toBe(1)
    return receipts
  }
  const exact = (estimated: bigint) => estimated
  /** What our RPC proxy adds to estimates of calls with data. */
  const proxied = (estimated: bigint) => estimated + (estimated * 3n > 3_000_000n ? (estimated * 3n) / 10n : 300_000n)
  const filled = async () => {
    network = await deployNetwork(chain, { blocksPerEpoch: 100n })
    for (let i = 0; i < 10; i++) await send(chain, submitCall(1, shapes[i]!, i))
  }
  const nothing = async () => {}
  const acrossOneBoundary = () => advance(chain, { blocks: 100 })
  const acrossFour = () => advance(chain, { blocks: 400 })

  test.each([
    { gas: 'exactly the estimate', when: 'in the same epoch', margin: exact, between: nothing },
    { gas: 'exactly the estimate', when: 'across an epoch boundary', margin: exact, between: acrossOneBoundary },
    { gas: 'exactly the estimate', when: 'across four epoch boundaries', margin: exact, between: acrossFour },
    { gas: "the proxy's margin on top", when: 'in the same epoch', margin: proxied, between: nothing },
    { gas: "the proxy's margin on top", when: 'across an epoch boundary', margin: proxied, between: acrossOneBoundary },
  ])('with $gas, $when: none runs out', async ({ margin, between }) => {
    await filled()
    const before = await network.read<bigint>('flow', 'epoch')
    const receipts = await race(margin, between)
    expect(receipts.map(({ status }) => status)).toEqual(Array(RACERS).fill('ok'))
    if (between !== nothing) expect(await network.read<bigint>('flow', 'epoch')).toBeGreaterThan(before)
  })

  test('in an empty flow, where every slot is touched for the first time: none runs out', async () => {
    network = await deployNetwork(chain)
    const receipts = await race(exact, nothing)
    expect(receipts.map(({ status }) => status)).toEqual(Array(RACERS).fill('ok'))
  })

  test('across the end of a reward item of 8 GiB: none runs out', async () => {
    network = await deployNetwork(chain)
    await send(chain, submitCall(1, [24]))
    const receipts = await race(exact, async () => void (await send(chain, submitCall(1, [24, 23, 22, 21], 5))))
    expect(receipts.map(({ status }) => status)).toEqual(Array(RACERS).fill('ok'))
  })

  test('too little gas for the worst state is refused by name, before it can hang a client', async () => {
    const call = submitCall(1, [0])
    const needed = await estimate(chain, call)
    expect(await attempt(chain, { ...call, gas: needed - 1_000n })).toMatchObject({
      ok: false,
      error: 'GasBelowBudget',
    })
    expect(await attempt(chain, { ...call, gas: needed })).toMatchObject({ ok: true })
  })
})

describe('a batch', () => {
  const batchCall = (count: number, heights: readonly number[], tagBytes: number): Call => {
    const submitter = chain.accounts[1]!
    const entries = Array.from({ length: count }, (_, i) => submissionOf(heights, i, `0x${'ab'.repeat(tagBytes)}`))
    const value = entries.reduce((sum, { nodes }) => sum + PRICE * sectorsOf(nodes), 0n)
    const args = [entries.map((data) => ({ data, submitter }))]
    return { ...network.call(submitter, 'flow', flowSelectors.batchSubmit, args, value), gas: TRANSACTION_GAS }
  }
  beforeAll(async () => {
    network = await deployNetwork(chain)
    await send(chain, submitCall(1, [5, 3]))
  })

  test('costs a third of single submissions per entry', async () => {
    const { gasUsed } = await send(chain, batchCall(64, [10], 0))
    expect(gasUsed / 64n).toBeLessThan(56_000n)
  })

  test('of the largest kind fits half a block and one transaction: 64 entries, four nodes and 4096 bytes of tags each', async () => {
    const call = batchCall(64, [24, 23, 22, 21], 4096)
    expect(await estimate(chain, call)).toBeLessThan(TRANSACTION_GAS)
    const { gasUsed } = await send(chain, call)
    expect(gasUsed).toBeLessThan(BLOCK_GAS / 2n)
  })
})
