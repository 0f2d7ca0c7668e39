import { type Abi, type Hex, concat, decodeFunctionResult, encodeAbiParameters, keccak256 } from 'viem'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import flowVectors from '../../../sim/vectors/storage-flow.json' with { type: 'json' }
import merkleVectors from '../../../sim/vectors/storage-merkle.json' with { type: 'json' }
import { type Anvil, startAnvil } from '../test/anvil.ts'
import { type Network, advance, attempt, balanceOf, deployNetwork, send } from '../test/network.ts'
import { type SubmissionData, ZERO_HASH, createFlowModel, sectorsOf, submissionOf } from '../test/submissions.ts'
import { FLOW_BATCH_ENTRIES_MAX, flowAbi, flowSelectors } from './flow.ts'

const PRICE = 30_733_644_962n
const SUBMIT_TOPIC = '0x167ce04d2aa1981994d3a31695da0d785373335b1078cec239a1a3a2c7675555'

let chain: Anvil
let network: Network
beforeAll(async () => {
  chain = await startAnvil()
})
afterAll(() => chain[Symbol.asyncDispose]())

const user = (index: number) => chain.accounts[index]!
const feeOf = (...entries: SubmissionData[]) => entries.reduce((sum, { nodes }) => sum + PRICE * sectorsOf(nodes), 0n)
const submission = (data: SubmissionData, submitter = user(1)) => ({ data, submitter })

describe('the flow vectors', () => {
  beforeAll(async () => {
    network = await deployNetwork(chain)
  })

  test('an empty flow has length 1 and root zero', async () => {
    expect(await network.read('flow', 'tree')).toEqual([1n, 0n])
    expect(await network.read('flow', 'computeFlowRoot')).toBe(ZERO_HASH)
    expect(await network.read('flow', 'numSubmissions')).toBe(0n)
  })

  test('the 17 steps give the positions, padding, lengths, identities and roots of the reference', async () => {
    for (const [i, step] of flowVectors.steps.entries()) {
      const file = merkleVectors.cases.find((c) => c.generator === step.generator && c.size === step.size)!
      const data = dataOf(file.submission)
      const call = network.call(user(1), 'flow', flowSelectors.submit, [submission(data)], feeOf(data))
      const receipt = await send(chain, call)

      const [event] = network.events(receipt).filter(({ eventName }) => eventName === 'Submit')
      expect(event!.args).toMatchObject({
        identity: step.identity,
        submissionIndex: BigInt(i),
        startPos: BigInt(step.startIndex),
        sectorCount: BigInt(step.sectors),
      })
      expect(step.startIndex - step.previousLength).toBe(step.paddingSectors)
      expect(await network.read('flow', 'tree')).toEqual([BigInt(step.currentLength), 0n])
      expect(await network.read('flow', 'getFlowRootByTxSeq', [BigInt(i)])).toBe(step.flowRoot)
      expect(await network.read('flow', 'computeFlowRoot')).toBe(step.flowRoot)
    }
    expect(await network.read('flow', 'submissionIndex')).toBe(17n)
    expect(await network.read('flow', 'getFlowRootByTxSeq', [17n])).toBe(ZERO_HASH)
  })
})

describe('validity', () => {
  beforeAll(async () => {
    network = await deployNetwork(chain)
  })

  test.each(flowVectors.validity)('length $length with heights $heights: valid $valid', async (row) => {
    const nodes = row.heights.map((height) => ({ root: keccak256('0x01'), height: BigInt(height) }))
    const data = { length: BigInt(row.length), tags: '0x' as Hex, nodes }
    const submitter = 'submitter' in row ? `0x${'00'.repeat(20)}` : user(1)
    const call = network.call(user(1), 'flow', flowSelectors.submit, [{ data, submitter }], feeOf(data))
    const outcome = await attempt(chain, call)
    expect(outcome).toMatchObject(row.valid ? { ok: true } : { ok: false, error: 'Invalid submission' })
  })

  const oldSubmit = (data: SubmissionData) =>
    attempt(chain, network.call(user(1), 'flow', flowSelectors.submitOld, [data], 10n ** 20n))
  const nodesOf = (...heights: bigint[]) => heights.map((height) => ({ root: keccak256('0x01'), height }))

  test('no nodes, a spread of four heights, a height of 64 and equal heights are invalid', async () => {
    for (const [length, nodes] of [
      [1n, []],
      [8n * 256n, nodesOf(4n, 0n)],
      [256n, nodesOf(64n)],
      [256n, nodesOf(2n ** 255n)],
      [2n * 256n, nodesOf(0n, 0n)],
      [256n * 12n, nodesOf(3n, 2n, 2n)],
    ] as const) {
      expect(await oldSubmit({ length, tags: '0x', nodes })).toMatchObject({ ok: false, error: 'Invalid submission' })
    }
  })

  test('rising heights end in an arithmetic panic, as in the reference', async () => {
    const outcome = await oldSubmit({ length: 768n, tags: '0x', nodes: nodesOf(0n, 1n) })
    expect(outcome).toMatchObject({ ok: false, error: 'Panic', args: [0x11n] })
  })

  test('many nodes cost no more than five: the loop ends at the first that does not fall', async () => {
    const outcome = await oldSubmit({ length: 256n, tags: '0x', nodes: nodesOf(...Array<bigint>(200).fill(3n)) })
    expect(outcome).toMatchObject({ ok: false, error: 'Invalid submission' })
  })
})

describe('the calldata of official clients', () => {
  beforeAll(async () => {
    network = await deployNetwork(chain)
  })

  test('all 72 recorded files are accepted, as the recorded calldata where there is one, with the recorded identity', async () => {
    expect(merkleVectors.cases).toHaveLength(72)
    expect(merkleVectors.cases.filter(({ calldataSubmit }) => calldataSubmit !== undefined)).toHaveLength(54)
    for (const file of merkleVectors.cases) {
      const value = PRICE * BigInt(file.sectors)
      const args = [submission(dataOf(file.submission), '0x1111111111111111111111111111111111111111')]
      const ours = network.call(user(2), 'flow', flowSelectors.submit, args, value)
      const call = { ...ours, data: (file.calldataSubmit ?? ours.data) as Hex }
      expect(ours.data).toBe(call.data)
      const outcome = await attempt(chain, call)
      if (!outcome.ok) throw new Error(`${file.generator} ${file.size}: ${outcome.error}`)
      const [index, digest, startIndex, length] = decode<[bigint, Hex, bigint, bigint]>('submit', outcome.data)
      expect(digest).toBe(file.identityDigest)
      expect(length).toBe(BigInt(file.sectors))
      const receipt = await send(chain, call)
      const [event] = network.events(receipt).filter(({ eventName }) => eventName === 'Submit')
      const nodes = dataOf(file.submission).nodes
      expect(event!.args).toMatchObject({
        sender: '0x1111111111111111111111111111111111111111',
        identity: file.identityDigest,
        submissionIndex: index,
        startPos: startIndex,
        sectorCount: length,
        submission: { length: BigInt(file.size), tags: file.submission.tags, nodes },
      })
    }
  })
})

describe('submissions', () => {
  beforeAll(async () => {
    network = await deployNetwork(chain)
  })

  test('the new generation names its submitter, the old one the payer', async () => {
    const data = submissionOf([1], 1)
    await send(chain, network.call(user(3), 'flow', flowSelectors.submit, [submission(data, user(4))], feeOf(data)))
    await send(chain, network.call(user(3), 'flow', flowSelectors.submitOld, [data], feeOf(data)))
    const events = await submitEvents()
    expect(events.slice(-2).map(({ sender }) => sender.toLowerCase())).toEqual([user(4), user(3)])
  })

  test('a batch of either generation places its entries as single submissions would', async () => {
    const shapes = [[3, 0], [10], [8, 5], [0], [10, 7], [2]]
    const entries = shapes.map((heights, i) => submissionOf(heights, 100 + i, i === 2 ? '0x1234' : '0x'))
    const singles = await deployNetwork(chain)
    for (const data of entries)
      await send(chain, singles.call(user(1), 'flow', flowSelectors.submit, [submission(data)], feeOf(data)))

    for (const generation of ['new', 'old'] as const) {
      const batch = await deployNetwork(chain)
      const call =
        generation === 'new'
          ? batch.call(
              user(1),
              'flow',
              flowSelectors.batchSubmit,
              [entries.map((data) => submission(data))],
              feeOf(...entries),
            )
          : batch.call(user(1), 'flow', flowSelectors.batchSubmitOld, [entries], feeOf(...entries))
      const outcome = await attempt(chain, call)
      if (!outcome.ok) throw new Error(outcome.error)
      const [indexes, digests, starts, lengths] = decode<[bigint[], Hex[], bigint[], bigint[]]>(
        'batchSubmit',
        outcome.data,
      )
      const receipt = await send(chain, call)
      const events = batch.events(receipt).filter(({ eventName }) => eventName === 'Submit')
      expect(events.map(({ args }) => args['submissionIndex'])).toEqual(indexes)
      expect(events.map(({ args }) => args['startPos'])).toEqual(starts)
      expect(events.map(({ args }) => args['identity'])).toEqual(digests)
      expect(events.map(({ args }) => args['sectorCount'])).toEqual(lengths)
      expect(await batch.read('flow', 'tree')).toEqual(await singles.read('flow', 'tree'))
      for (let i = 0n; i < BigInt(entries.length); i++) {
        expect(await batch.read('flow', 'getFlowRootByTxSeq', [i])).toBe(
          await singles.read('flow', 'getFlowRootByTxSeq', [i]),
        )
      }
    }
  })

  test('each entry of a batch belongs to its own submitter, in the old generation to the payer', async () => {
    const entries = [submissionOf([1], 1), submissionOf([2], 2), submissionOf([0], 3)]
    const owners = [user(6), user(7), user(6)]
    const named = entries.map((data, i) => submission(data, owners[i]!))
    await send(chain, network.call(user(3), 'flow', flowSelectors.batchSubmit, [named], feeOf(...entries)))
    await send(chain, network.call(user(3), 'flow', flowSelectors.batchSubmitOld, [entries], feeOf(...entries)))
    const senders = (await submitEvents()).slice(-6).map(({ sender }) => sender.toLowerCase())
    expect(senders).toEqual([...owners, user(3), user(3), user(3)])
  })

  test('a file that would straddle a segment boundary starts at the next segment instead', async () => {
    const own = await deployNetwork(chain)
    const model = createFlowModel()
    // Worked out by hand from spec/storage.md 2.3; a jump wherever alignment alone would end behind a multiple of 1024.
    for (const [heights, start] of [
      [[9, 8], 1024n], // 512 … 1279 would straddle
      [[7, 4], 1792n],
      [[8], 2048n],
      [[9, 8], 3072n], // 2560 … 3327 would straddle
      [[7, 4], 3840n],
      [[6, 5], 4096n], // 4032 … 4127 would straddle
    ] as const) {
      const data = submissionOf(heights, Number(start))
      const receipt = await send(chain, own.call(user(1), 'flow', flowSelectors.submitOld, [data], feeOf(data)))
      const event = own.events(receipt).find(({ eventName }) => eventName === 'Submit')!
      const placed = model.append(data.nodes)
      expect([event.args['startPos'], placed.start]).toEqual([start, start])
      expect(await own.read('flow', 'computeFlowRoot')).toBe(model.root())
    }
  })

  test('one bad entry fails the whole batch, and so does an empty or oversize one', async () => {
    const good = submissionOf([0], 1)
    const bad = { ...submissionOf([4], 2), length: 1n }
    const batch = (entries: readonly SubmissionData[]) =>
      attempt(chain, {
        ...network.call(user(1), 'flow', flowSelectors.batchSubmitOld, [entries], 10n ** 18n),
        gas: 29_000_000n,
      })
    expect(await batch([good, bad])).toMatchObject({ ok: false, error: 'Invalid submission' })
    expect(await batch([])).toMatchObject({ ok: false, error: 'BatchSizeInvalid', args: [0n, 64n] })
    expect(await batch(Array<SubmissionData>(65).fill(good))).toMatchObject({
      ok: false,
      error: 'BatchSizeInvalid',
      args: [65n, 64n],
    })
    expect(await batch(Array<SubmissionData>(64).fill(good))).toMatchObject({ ok: true })
    expect(await network.read('flow', 'BATCH_ENTRIES_MAX')).toBe(BigInt(FLOW_BATCH_ENTRIES_MAX))
  })

  test('an entry that no block could book is refused by name, and so is one beyond the end of the flow', async () => {
    const free = await deployNetwork(chain, { pricePerSector: 0n })
    const submitting = (...heights: number[]) =>
      free.call(user(1), 'flow', flowSelectors.submitOld, [submissionOf(heights, 1)])
    expect(await attempt(chain, { ...submitting(34), gas: 29_000_000n })).toMatchObject({
      ok: false,
      error: 'GasBelowBudget',
    })
    expect(await attempt(chain, { ...submitting(63, 62), gas: 2n ** 60n })).toMatchObject({
      ok: false,
      error: 'FlowFull',
    })
  })

  test('submissions open after the deploy delay and stop while paused; withdrawals do not', async () => {
    const data = submissionOf([0], 1)
    const late = await deployNetwork(chain, { deployDelay: 5n })
    const call = late.call(user(1), 'flow', flowSelectors.submitOld, [data], feeOf(data) + 7n)
    expect(await attempt(chain, call)).toMatchObject({ ok: false, error: 'Contract has not launched.' })
    await advance(chain, { blocks: 5 })
    await send(chain, call)

    await send(chain, late.call(late.deployer, 'flow', 'pause'))
    expect(await late.read('flow', 'paused')).toBe(true)
    const others = [
      late.call(user(1), 'flow', flowSelectors.submit, [submission(data)], feeOf(data)),
      late.call(user(1), 'flow', flowSelectors.batchSubmit, [[submission(data)]], feeOf(data)),
      late.call(user(1), 'flow', flowSelectors.batchSubmitOld, [[data]], feeOf(data)),
    ]
    for (const paused of [call, ...others]) {
      expect(await attempt(chain, paused)).toMatchObject({ ok: false, error: 'EnforcedPause' })
    }
    const before = await balanceOf(chain, user(1))
    await send(chain, late.call(user(1), 'flow', 'withdrawSurplus'))
    expect(await balanceOf(chain, user(1))).toBe(before + 7n)
    await send(chain, late.call(late.deployer, 'flow', 'unpause'))
    expect(await attempt(chain, call)).toMatchObject({ ok: true })
  })

  test('the Submit event has the topic and the words that every client decodes', async () => {
    const data = submissionOf([1, 0], 7, '0xabcd')
    const receipt = await send(chain, network.call(user(5), 'flow', flowSelectors.submitOld, [data], feeOf(data)))
    const log = receipt.logs.find(({ topics }) => topics[0] === SUBMIT_TOPIC)!
    const identity = keccak256(concat(data.nodes.map(({ root }) => root)))
    expect(log.topics.slice(1)).toEqual([`0x${'0'.repeat(24)}${user(5).slice(2).toLowerCase()}`, identity])
    const [submit] = flowAbi.filter((item) => item.type === 'event' && item.name === 'Submit')
    const [index, start] = [log.data.slice(2, 66), log.data.slice(66, 130)].map((word) => BigInt(`0x${word}`))
    const unindexed = (submit as { inputs: readonly { indexed: boolean }[] }).inputs.filter(({ indexed }) => !indexed)
    expect(log.data).toBe(encodeAbiParameters(unindexed as never, [index, start, 3n, data] as never))
  })
})

describe('the model of the tree that other tests trust', () => {
  test('agrees with the 17 recorded roots', () => {
    const model = createFlowModel()
    for (const step of flowVectors.steps) {
      const file = merkleVectors.cases.find((c) => c.generator === step.generator && c.size === step.size)!
      const { start } = model.append(dataOf(file.submission).nodes)
      expect([start, model.root()]).toEqual([BigInt(step.startIndex), step.flowRoot])
    }
  })
})

/** What a function of Flow answered; both overloads answer alike. */
function decode<T>(functionName: string, data: Hex): T {
  const abi: Abi = flowAbi.filter((item) => item.type === 'function' && item.name === functionName).slice(0, 1)
  return decodeFunctionResult({ abi, functionName, data }) as T
}

async function submitEvents(): Promise<readonly { sender: string }[]> {
  const filter = { address: network.addresses.flow, fromBlock: '0x0', topics: [SUBMIT_TOPIC] }
  const logs = (await chain.rpc('eth_getLogs', [filter])) as { topics: Hex[] }[]
  return logs.map(({ topics }) => ({ sender: `0x${topics[1]!.slice(26)}` }))
}

function dataOf(recorded: { length: number; tags: string; nodes: { root: string; height: number }[] }): SubmissionData {
  const nodes = recorded.nodes.map(({ root, height }) => ({ root: root as Hex, height: BigInt(height) }))
  return { length: BigInt(recorded.length), tags: recorded.tags as Hex, nodes }
}
