import {
  fileTreeOf,
  fromHex,
  identityOf,
  layoutOf,
  leafCountOf,
  paddedChunkCountOf,
  submissionOf,
  toHex,
  type Address,
  type Hex,
  type Submission,
} from '@weightless/core'
import { segmentRoots } from '@weightless/kernels'
import { describe, expect, test } from 'vitest'
import flow from '../../../sim/vectors/storage-flow.json' with { type: 'json' }
import merkle from '../../../sim/vectors/storage-merkle.json' with { type: 'json' }
import { submissionLog, submitLog } from '../../../sim/fakes/chain.ts'
import { content } from '../../../sim/fakes/network.ts'
import { failureOf } from '../../../sim/fakes/outcome.ts'
import { decodeSubmitLog, entriesOf, readMarket, readPrice, SUBMIT_TOPIC, submitCalldata } from './flowChain.ts'

const address = `0x${'f0'.repeat(20)}` as Address
const submitter = `0x${'11'.repeat(20)}` as Address

function submissionFor(sizeBytes: number, tags = new Uint8Array(0)): Submission {
  const layout = layoutOf(sizeBytes)
  const bytes = content(sizeBytes, sizeBytes)
  const tree = fileTreeOf(layout, segmentRoots(bytes, leafCountOf(layout, layout.segmentCount - 1)))
  return submissionOf(tree, { lastSegment: bytes.subarray((layout.segmentCount - 1) * 262_144), tags })
}

describe('calldata', () => {
  const cases = merkle.cases.filter(({ calldataSubmit }) => calldataSubmit !== undefined)
  test.each(cases.map((one) => [`${one.generator} ${one.size}`, one] as const))(
    'equals that of the official client: %s',
    (_, { submission, calldataSubmit }) => {
      const ours: Submission = {
        sizeBytes: submission.length,
        tags: fromHex(submission.tags),
        nodes: submission.nodes.map(({ root, height }) => ({ root: fromHex(root), height })),
      }
      expect(submitCalldata([ours], submitter)).toBe(calldataSubmit)
    },
  )

  test('of several submissions is one batchSubmit', () => {
    const data = submitCalldata([submissionFor(1), submissionFor(70_000)], submitter)
    expect(data.slice(0, 10)).toBe('0x49aa3395')
  })
})

describe('an address that is no contract of ours', () => {
  test.each(['0x12', `0x${'ff'.repeat(31)}`])('answers with %s, and that is told with a code', async (result) => {
    const rpc = { url: 'http://chain.test/', request: async () => result }
    for (const read of [readMarket, readPrice])
      expect(await failureOf(read(rpc, address, {}))).toMatchObject({
        code: 'RPC_ANSWER_INVALID',
        facts: { from: address },
      })
  })
})

describe('a Submit log', () => {
  test.each(flow.steps.map((step, i) => [i, step] as const))(
    'of vector %i gives the entry that the contract ordered',
    (_, step) => {
      const vector = merkle.cases.find(({ generator, size }) => generator === step.generator && size === step.size)!
      const log = submitLog({
        flow: address,
        submitter,
        data: {
          length: BigInt(step.size),
          tags: '0x',
          nodes: vector.submission.nodes.map(({ root, height }) => ({ root: root as Hex, height: BigInt(height) })),
        },
        identity: step.identity as Hex,
        seq: 12,
        startChunk: step.startIndex,
        sectors: step.sectors,
        blockNumber: 77,
        blockHash: `0x${'bb'.repeat(32)}`,
        txHash: `0x${'cc'.repeat(32)}`,
        logIndex: 3,
      })
      expect(decodeSubmitLog(log)).toEqual({
        seq: 12,
        root: step.fileRoot,
        sizeBytes: step.size,
        startChunk: step.startIndex,
        paddedChunkCount: step.sectors,
        nodes: vector.submission.nodes.map(({ root, height }) => ({ root: fromHex(root), height })),
        tags: new Uint8Array(0),
        sender: submitter,
        identity: step.identity,
        blockNumber: 77,
        blockHash: `0x${'bb'.repeat(32)}`,
        txHash: `0x${'cc'.repeat(32)}`,
        logIndex: 3,
      })
    },
  )

  test('keeps its tags, however long', () => {
    const tags = content(5_000, 1)
    const submission = { ...submissionFor(1_000), tags }
    expect(submissionLog(address).append(submission).tags).toEqual(tags)
  })

  const good = (): Record<string, unknown> => {
    const { nodes, sizeBytes } = submissionFor(70_000)
    return submitLog({
      flow: address,
      submitter,
      data: {
        length: BigInt(sizeBytes),
        tags: '0x',
        nodes: nodes.map(({ root, height }) => ({ root: toHex(root), height: BigInt(height) })),
      },
      identity: toHex(identityOf(nodes)),
      seq: 0,
      startChunk: 1,
      sectors: paddedChunkCountOf(nodes),
      blockNumber: 1,
      blockHash: `0x${'bb'.repeat(32)}`,
      txHash: `0x${'cc'.repeat(32)}`,
      logIndex: 0,
    }) as Record<string, unknown>
  }
  const words = (log: Record<string, unknown>): string[] => (log['data'] as string).slice(2).match(/.{64}/g)!
  const withWord = (at: number, value: string) => {
    const log = good()
    const all = words(log)
    all[at] = value.padStart(64, '0')
    return { ...log, data: `0x${all.join('')}` }
  }

  test.each<[string, unknown]>([
    ['nothing', null],
    ['a string', 'log'],
    ['no topics', { ...good(), topics: undefined }],
    ['another event', { ...good(), topics: [`0x${'00'.repeat(32)}`, ...(good()['topics'] as string[]).slice(1)] }],
    ['too few topics', { ...good(), topics: (good()['topics'] as string[]).slice(0, 2) }],
    [
      'an identity that is not that of the nodes',
      { ...good(), topics: [SUBMIT_TOPIC, (good()['topics'] as string[])[1], `0x${'ee'.repeat(32)}`] },
    ],
    ['no data', { ...good(), data: '0x' }],
    ['data cut off', { ...good(), data: (good()['data'] as string).slice(0, -64) }],
    ['data that is no hex', { ...good(), data: '0xzz' }],
    ['a sequence number beyond 2^53', withWord(0, '40000000000000')],
    ['sectors that are not those of the nodes', withWord(2, 'ff')],
    ['a size that the nodes do not cover', withWord(4, 'ffffff')],
    ['a size that would need smaller nodes', withWord(4, '1')],
    ['a pending block', { ...good(), blockNumber: null }],
    ['a log that a reorganisation removed', { ...good(), removed: true }],
  ])('that is not one of ours is refused: %s', (_, log) => {
    let caught: unknown
    try {
      decodeSubmitLog(log)
    } catch (error) {
      caught = error
    }
    expect(caught).toMatchObject({ code: 'LOG_INVALID', blame: 'peer' })
  })

  test('of another contract is no entry of this transaction', () => {
    const mined = {
      txHash: `0x${'cc'.repeat(32)}` as never,
      blockNumber: 1,
      blockHash: '0x' as Hex,
      logs: [good(), { ...good(), address: submitter }, { topics: [] }, null],
    }
    expect(entriesOf(mined, address)).toHaveLength(1)
  })
})

test('an empty result means that no contract is there', async () => {
  const rpc = { url: 'x', request: async () => '0x' }
  expect(await failureOf(readPrice(rpc, address, {}))).toMatchObject({ code: 'RPC_ANSWER_INVALID' })
})
