import { concat, toHex } from '@weightless/core'
import {
  encodeBlock,
  encodeSegmentHeader,
  readSegment,
  type JournalBlock,
} from '../../../packages/chain/src/journal/segment.ts'
import { createProxy, type Subscriber } from '../../../packages/chain/src/proxy.ts'
import { allowedMethods } from '../../../packages/chain/src/rpcFilter.ts'
import { matches, parseSubscription } from '../../../packages/chain/src/subscriptions.ts'
import { insist, type FuzzTarget } from '../engine.ts'
import { rpcBody, withJson } from './core.ts'

const allowed = new Set(allowedMethods)
/** What an engine has besides: none of these may ever be asked. */
const PRIVATE =
  /^(anvil|evm|hardhat|debug|personal|admin|miner|txpool|trace|ots|erigon|wallet)_|^eth_(sendTransaction|sign|signTransaction|signTypedData|sendUnsignedTransaction)/
let asked: { readonly method: string; readonly params: readonly unknown[] }[] = []
const subscriber: Subscriber = {
  subscribe: (params) => (parseSubscription(params) === undefined ? { refusal: 'no' } : { result: '0x1' }),
  unsubscribe: () => ({ result: true }),
}
const proxy = createProxy({
  blockGasLimit: 30_000_000n,
  upstream: async () => ({
    ask: async (method, params) => {
      asked.push({ method, params })
      return method === 'eth_sendRawTransaction' ? `"result":"0x${'ab'.repeat(32)}"}` : '"result":"0x10"}'
    },
  }),
  submitted: async () => 'mined',
} as Parameters<typeof createProxy>[0])

const proxyTarget: FuzzTarget = {
  name: 'chain-proxy',
  from: 'anybody on the public port of the chain',
  kind: 'json',
  corpus: [
    ...allowedMethods.map((method) =>
      rpcBody(method, [{ to: '0x12', data: '0x34', gas: '0xffffffffff' }, 'finalized']),
    ),
    rpcBody('anvil_setBalance', ['0x12', '0x1']),
    `[${rpcBody('eth_chainId', [])},${rpcBody('evm_mine', [])},${rpcBody('eth_sendTransaction', [{}])}]`,
    '{"jsonrpc":"2.0","id":1,"method":"eth_chainId","method":"anvil_mine","m\\u0065thod":"evm_mine","params":[]}',
    rpcBody('eth_getLogs', [{ fromBlock: 'safe', toBlock: '0x5', address: [] }]),
    rpcBody('eth_estimateGas', [{ from: '0x1', gas: '0x1', accessList: [{ address: '0x2', storageKeys: [] }] }]),
  ],
  words: [
    'anvil_',
    'evm_mine',
    'eth_sendTransaction',
    '"method":"hardhat_reset"',
    'debug_',
    '\\u0061nvil_',
    '"params":',
  ],
  run: async (input) => {
    asked = []
    const answer = await proxy.answer(input, { subscriber })
    for (const { method, params } of asked) {
      insist(allowed.has(method) && !PRIVATE.test(method), `${method} was let through`)
      // What the engine reads is written anew: a second parser must see what was decided on.
      const written = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })
      const read = JSON.parse(written) as {
        readonly method: string
        readonly params: readonly Record<string, unknown>[]
      }
      insist(read.method === method, 'the engine reads the method that was decided on')
      const gas = read.params[0]?.['gas']
      if (method === 'eth_call' || method === 'eth_estimateGas')
        insist(typeof gas !== 'string' || BigInt(gas) <= 30_000_000n, 'no call has more gas than a block')
      insist(method !== 'eth_getBlockByNumber' || params[0] !== 'finalized', 'no name of a block is left to the engine')
    }
    if (answer === undefined) return 'nothing'
    const told = JSON.parse(answer) as unknown
    const first = (Array.isArray(told) ? told[0] : told) as {
      readonly error?: { readonly code: number; readonly message: string }
    }
    insist(first.error?.message !== 'internal error', 'no internal error')
    return `${asked.length > 0 ? 'forwarded' : 'answered'} ${first.error?.code ?? 'result'}`
  },
}

const log = { address: `0x${'12'.repeat(20)}`, topics: [`0x${'34'.repeat(32)}`, `0x${'56'.repeat(32)}`] }
const subscriptions: FuzzTarget = {
  name: 'subscriptions',
  from: 'WebSocket clients of the chain',
  kind: 'json',
  corpus: [
    '["newHeads"]',
    '["newPendingTransactions",null]',
    JSON.stringify(['logs', { address: log.address, topics: [log.topics[0], null] }]),
    JSON.stringify(['logs', { address: [log.address], topics: [[log.topics[0], log.topics[1]], [], log.topics] }]),
    '["logs"]',
  ],
  words: ['"logs"', '"address":', '"topics":', 'null', log.address],
  run: (input) =>
    withJson(input, (value) => {
      if (!Array.isArray(value)) return 'no array'
      const subscription = parseSubscription(value as unknown[])
      if (subscription === undefined) return 'refused'
      return subscription.kind === 'logs' ? `logs ${matches(subscription.filter, log)}` : subscription.kind
    }),
}

const journalHeader = { chainId: 31337, base: { number: 4, hash: `0x${'ab'.repeat(32)}` as const }, salt: 77 }
const journalBlocks = [5, 6, 7].map((number) => ({
  number,
  hash: `0x${'0'}${String(number).repeat(63)}` as const,
  timestampS: 1_700_000_000 + number,
  baseFeeWei: 10n ** 9n,
  transactions: Array.from({ length: number - 5 }, (_, i) => new Uint8Array(100 + i).fill(number)),
}))
const journal = concat([
  encodeSegmentHeader(journalHeader),
  ...journalBlocks.map((block) => encodeBlock(block, journalHeader.salt)),
])
/** What a block says, whichever file it stands in. */
const written = (block: (typeof journalBlocks)[number] | JournalBlock): string =>
  toHex(encodeBlock(block, journalHeader.salt))
const journalled = new Set(journalBlocks.map(written))
const journals: FuzzTarget = {
  name: 'journal-segments',
  from: 'the own disk, after a crash or with bits that rot',
  kind: 'bytes',
  corpus: [journal, encodeSegmentHeader(journalHeader), concat([journal, new Uint8Array(1024)]), new Uint8Array(0)],
  run: (input) => {
    const reading = readSegment(input)
    if (reading.kind !== 'read') return reading.kind
    // Each record has a checksum: what is read was written.
    if (reading.header.salt === journalHeader.salt)
      for (const block of reading.blocks) insist(journalled.has(written(block)), 'a block that was read was written')
    return `read ${reading.blocks.length} ${reading.tail}`
  },
}

export const chainTargets: readonly FuzzTarget[] = [proxyTarget, subscriptions, journals]
