import { toHex, type Address, type Entry, type TxHash } from '@weightless/core'
import { expect, test } from 'vitest'
import { content, createFakeNetwork } from '../../../sim/fakes/network.ts'
import { silentLogger } from '../../../sim/silentLogger.ts'
import { findAgain, isFinal } from './entryOnChain.ts'
import { upload } from './upload.ts'
import type { Rpc } from './rpc.ts'

const hash = (digit: string): TxHash => `0x${digit.repeat(64)}` as TxHash
const before = { seq: 3, txHash: hash('1'), blockNumber: 10, blockHash: hash('a') } as unknown as Entry
const flow = `0x${'f0'.repeat(20)}` as Address

function rpcOf(answers: Readonly<Record<string, (params: readonly unknown[]) => unknown>>): Rpc {
  return { url: 'http://chain.test/', request: async (method, params) => answers[method]?.(params) ?? null }
}
const blocks = (newest: number, finalized?: number): Rpc =>
  rpcOf({
    eth_getBlockByNumber: ([at]) => {
      const number = at === 'latest' ? newest : at === 'finalized' ? finalized : Number(at)
      return number === undefined ? null : { number: toQuantity(number), hash: number === 10 ? hash('a') : hash('b') }
    },
  })
const toQuantity = (value: number): string => `0x${value.toString(16)}`

test('an entry is final when the finalized block of the chain has reached it', async () => {
  expect(await isFinal(blocks(100, 9), before, {})).toBe(false)
  expect(await isFinal(blocks(100, 10), before, {})).toBe(true)
})

test('on a chain that does not know what is final, an entry is final under 64 blocks', async () => {
  expect(await isFinal(blocks(73), before, {})).toBe(false)
  expect(await isFinal(blocks(74), before, {})).toBe(true)
})

test('a transaction that lost its block is pending, or gone', async () => {
  const pending = rpcOf({ eth_getTransactionByHash: () => ({ hash: before.txHash }) })
  expect(await findAgain(pending, { flow, before }, {})).toBe('pending')
  expect(await findAgain(rpcOf({}), { flow, before }, {})).toBe('gone')
  const reverted = { transactionHash: before.txHash, blockNumber: '0xb', blockHash: hash('c'), status: '0x0', logs: [] }
  expect(await findAgain(rpcOf({ eth_getTransactionReceipt: () => reverted }), { flow, before }, {})).toBe('gone')
})

test('an upload whose block was replaced goes on with the same transaction in its new block, and pays once', async () => {
  const network = createFakeNetwork()
  const { chain } = network
  const answer = chain.handle
  const again = toHex(new Uint8Array(32).fill(0x77))
  let lost: string | undefined
  // Once the first block is gone, the transaction and its receipt are in another one.
  chain.handle = async (request) => {
    const text = JSON.stringify(await (await answer(request)).json())
    const told = lost === undefined || isBefore-- > 0 ? text : text.replaceAll(lost, again)
    return new Response(told, { headers: { 'content-type': 'application/json' } })
  }
  // The receipt in the body of the transaction still names the first block.
  let isBefore = 1
  chain.onEntry((entry) => (lost = entry.blockHash))
  const warned: string[] = []
  const logger = { ...silentLogger, warn: (event: string) => void warned.push(event) }
  const result = await upload(network.client({}, { logger }), content(1_000, 1), { until: 'final' })
  expect(result).toMatchObject({ stage: 'final', seq: 0, reused: false })
  expect(warned).toContain('upload.reanchored')
  expect([...chain.nonces.values()].flat()).toEqual([0])
})
