import { concat, encodeFrames, type Address, type Clock, type Net, type Random } from '@weightless/core'
import { createRpc, createStorageNodeClient, readMembers, readOwnMember } from '@weightless/sdk'
import { readMarket, readPrice } from '../../../packages/sdk/src/flowChain.ts'
import { parseUploadStep } from '../../../packages/sdk/src/uploadSteps.ts'
import { insist, laterOutcomeOf, outcomeOf, type FuzzTarget } from '../engine.ts'
import { goodReceipt, smallObject } from './core.ts'

/** Pauses before another try pass at once; deadlines never come. */
const PAUSE_MS_MAX = 4_000
const clock: Clock = {
  nowMs: () => 0,
  sleep: (ms, { signal }) =>
    ms <= PAUSE_MS_MAX
      ? Promise.resolve()
      : new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason), { once: true })),
  deadline: () => new AbortController().signal,
}
const random: Random = { bytes: (sizeBytes) => new Uint8Array(sizeBytes) }
let answer = new Uint8Array(0)
let status = 200
const net: Net = { fetch: async () => new Response(answer as Uint8Array<ArrayBuffer>, { status }) }
const rpc = createRpc('http://chain.test/', { net, clock, random }, { attemptsMax: 2 })
const registry = `0x${'12'.repeat(20)}` as Address
/** Which question is asked and with what status it is answered follows from the bytes: one input is one case. */
const chosenBy = (input: Uint8Array, count: number): number => ((input.at(-2) ?? 0) * 7 + input.length) % count
const STATUSES = [200, 200, 200, 200, 400, 404, 429, 500, 503]

function answered(input: Uint8Array): void {
  answer = input as Uint8Array<ArrayBuffer>
  status = STATUSES[input.length % STATUSES.length]!
}
const short = (word: string): string => word.replace(/0x[0-9a-f]+|\d+/g, 'n').slice(0, 50)

const word = (value: number): string => value.toString(16).padStart(64, '0')
/** One member as the registry returns it: a tuple with a text in it. */
const result = (hex: string): string => JSON.stringify({ jsonrpc: '2.0', id: 1, result: `0x${hex}` })
const rpcAnswers: FuzzTarget = {
  name: 'rpc-answers',
  from: 'the RPC of a chain',
  kind: 'json',
  corpus: [
    result(word(1)),
    result(word(32) + word(0) + word(3)),
    result(
      word(3) +
        word(64) +
        word(1) +
        word(32) +
        word(1) +
        word(1) +
        'ab'.repeat(32) +
        word(192) +
        'cd'.repeat(32) +
        word(9) +
        word(4) +
        '68747470'.padEnd(64, '0'),
    ),
    '{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"nonce too low","data":"0x"}}',
    '{"jsonrpc":"2.0","id":1,"error":{"code":-32005,"message":"limit"}}',
    '{"jsonrpc":"2.0","id":1,"result":null}',
  ],
  words: ['"result":', '"error":', '"code":', '"message":', '"0x"', word(2 ** 31), word(32)],
  run: async (input) => {
    answered(input)
    const read = [
      () => rpc.request('eth_call', []),
      () => readMembers(rpc, registry, {}),
      () => readOwnMember(rpc, registry, registry, {}),
      () => readMarket(rpc, registry, {}),
      () => readPrice(rpc, registry, {}),
    ][chosenBy(input, 5)]!
    return short(await laterOutcomeOf(read))
  },
}

const root = smallObject.tree.root
const logged = { seq: 1, sizeBytes: 700, startChunk: 1, blockNumber: 2, txHash: `0x${'34'.repeat(32)}` }
const node = createStorageNodeClient('http://node.test', { net, clock })
const nodeAnswers: FuzzTarget = {
  name: 'storage-node-answers',
  from: 'storage nodes that our clients ask',
  kind: 'json',
  corpus: [
    JSON.stringify({
      version: '1', nodeId: '1', signer: registry, chainId: 31337, flow: registry, registry, registryVersion: 1, membership: 'registry',
      gatewayUrl: null, head: { number: 1, hash: root }, nextSeq: 4, store: { segmentCount: 1, usedBytes: 1, capacityBytes: 2, readOnly: false }, ready: true,
    }), // prettier-ignore
    JSON.stringify({ root, entries: [{ ...logged, complete: true, heldSegmentCount: 1 }] }),
    JSON.stringify({
      entries: [
        { root, ...logged },
        { root, ...logged, seq: 2 },
      ],
    }),
    JSON.stringify(goodReceipt),
    JSON.stringify({ stored: 1, missing: 0, receipt: goodReceipt }),
    JSON.stringify({ error: { code: 'SERVER_BUSY', message: 'busy', facts: { a: 1 }, next: 'wait', retryable: true } }),
    concat(encodeFrames(smallObject.segments)),
  ],
  words: ['"entries":[', '"seq":', '"error":', '"retryable":true', '"facts":{', '"receipt":'],
  run: async (input) => {
    answered(input)
    const read: readonly (() => Promise<unknown>)[] = [
      () => node.status({}),
      () => node.entries(root, {}),
      () => node.list({ limit: 10 }, {}),
      () => node.receipt(root, { seq: 17, slot: 0 }, {}),
      () => node.putFrames(root, { seq: 1, slot: 0, body: new Uint8Array(1) }, {}),
      async () => {
        const segments = await node.getSegments(root, { from: 0, count: 1, seq: 1 }, {})
        insist(segments === undefined || segments.length <= 16, 'no more segments than asked for')
      },
    ]
    return short(await laterOutcomeOf(read[chosenBy(input, read.length)]!))
  },
}

const txHash = `0x${'34'.repeat(32)}`
const about = { version: 1, chainId: 31337, flow: registry, root, sizeBytes: 700, tags: '0x', sinceBlock: 3 }
const uploadSteps: FuzzTarget = {
  name: 'upload-steps',
  from: 'whoever wrote the file of an unfinished upload',
  kind: 'json',
  corpus: [
    JSON.stringify({ ...about, step: 'rooted', seal: `0x${'12'.repeat(48)}` }),
    JSON.stringify({ ...about, step: 'asked', transaction: { by: 'wallet', from: registry, txHash } }),
    JSON.stringify({
      ...about,
      step: 'signed',
      transaction: { by: 'key', from: registry, nonce: 1, raw: '0x02c0', txHash, earlier: [] },
    }),
    JSON.stringify({ ...about, step: 'anchored', entry: { seq: 1, txHash, blockNumber: 3 } }),
  ],
  words: ['"step":"final"', '"transaction":', '"earlier":[', '"entry":{', '"version":2'],
  run: (input) => {
    let value: unknown
    try {
      value = JSON.parse(new TextDecoder().decode(input))
    } catch {
      return 'no JSON'
    }
    return outcomeOf(() => {
      const step = parseUploadStep(value)
      insist(
        JSON.stringify(parseUploadStep(JSON.parse(JSON.stringify(step)))) === JSON.stringify(step),
        'a step is plain JSON',
      )
    }).slice(0, 60)
  },
}

export const sdkTargets: readonly FuzzTarget[] = [rpcAnswers, nodeAnswers, uploadSteps]
