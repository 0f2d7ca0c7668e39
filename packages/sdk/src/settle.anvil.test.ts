import { spawn, type ChildProcess } from 'node:child_process'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { systemClock, systemNet, systemRandom } from '@weightless/host'
import type { Address, Hex } from '@weightless/core'
import { privateKeyToAccount } from 'viem/accounts'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { keyOf } from '../../../sim/fakes/network.ts'
import { impatientClock } from '../../../sim/fakes/impatientClock.ts'
import { failureOf, reasonOf, turns } from '../../../sim/fakes/outcome.ts'
import { callOf, type PendingTransaction, type SignedTransaction } from './pendingTransaction.ts'
import { createRpc, createTransactor, privateKeySigner, type Rpc, type Transactor } from './index.ts'

// Pools, nonces and fees of a real engine that mines when it is told to: what becomes of a transaction that is dropped, replaced,
// overtaken or too cheap.

const GWEI = 10n ** 9n
const TO = `0x${'77'.repeat(20)}` as Address
const call = { to: TO, data: '0x', valueWei: 1n } as const

let anvil: ChildProcess
let rpc: Rpc
let wallets = 700
let address: Address
let key: Hex
let transactor: Transactor

beforeAll(async () => {
  const { findAnvil } = await import('../../chain/src/anvil/binary.ts')
  const port = await freePort()
  const { platform: os, arch: cpu } = process
  anvil = spawn(
    findAnvil({ os, cpu } as never),
    ['--port', String(port), '--no-mining', '--order', 'fees', '--quiet'],
    {
      stdio: 'ignore',
    },
  )
  rpc = createRpc(`http://127.0.0.1:${port}`, { net: systemNet, clock: systemClock, random: systemRandom })
  for (let isUp = false; !isUp;) isUp = (await reasonOf(rpc.request('eth_chainId', []))) === undefined
}, 60_000)
afterAll(() => anvil.kill('SIGKILL'))

beforeEach(async () => {
  key = keyOf(wallets++)
  address = privateKeyToAccount(key).address.toLowerCase() as Address
  transactor = createTransactor(
    { chainId: 31337, signer: privateKeySigner(key) },
    { rpc, clock: impatientClock(), random: systemRandom },
  )
  await rpc.request('anvil_setBalance', [address, '0x56bc75e2d63100000'])
  await setBaseFee(GWEI)
})

/** What a process told before it was killed: signed, and sent or not. */
async function killedAfter(moment: 'signed' | 'sent'): Promise<SignedTransaction> {
  const life = new AbortController()
  let told: PendingTransaction | undefined
  const reason = await reasonOf(
    transactor.send(call, {
      signal: life.signal,
      onPending: (pending) => {
        told = pending
        if (moment === 'signed') life.abort('killed')
      },
      onSent: () => life.abort('killed'),
    }),
  )
  expect(reason).toBe('killed')
  if (told?.by !== 'key') throw new Error('signed bytes were expected')
  return told
}

async function setBaseFee(wei: bigint): Promise<void> {
  await rpc.request('anvil_setNextBlockBaseFeePerGas', [`0x${wei.toString(16)}`])
  await mine()
}
const mine = (): Promise<unknown> => rpc.request('anvil_mine', ['0x1'])
const nonce = async (): Promise<number> => Number(await rpc.request('eth_getTransactionCount', [address, 'latest']))
const isKnown = async (hash: Hex): Promise<boolean> => (await rpc.request('eth_getTransactionByHash', [hash])) !== null
async function until(isSo: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 20_000
  while (!(await isSo())) {
    if (Date.now() > deadline) throw new Error('it never happened')
    await turns(1)
  }
}
async function send(nonceOfOther: number, changes: object = {}): Promise<Hex> {
  const raw = await privateKeyToAccount(key).signTransaction({
    type: 'eip1559',
    chainId: 31337,
    nonce: nonceOfOther,
    to: TO,
    value: 5n,
    gas: 50_000n,
    maxFeePerGas: 100n * GWEI,
    maxPriorityFeePerGas: 50n * GWEI,
    ...changes,
  })
  return (await rpc.request('eth_sendRawTransaction', [raw])) as Hex
}

describe('a transaction that was told before it was sent', () => {
  test('is sent by whoever goes on, if nobody did', async () => {
    const pending = await killedAfter('signed')
    expect(await isKnown(pending.txHash)).toBe(false)
    const settled = transactor.settle(pending, {})
    await until(() => isKnown(pending.txHash))
    await mine()
    expect(await settled).toMatchObject({ txHash: pending.txHash })
    expect(await nonce()).toBe(1)
  })

  test('is awaited, if it is out', async () => {
    const pending = await killedAfter('sent')
    const settled = transactor.settle(pending, {})
    await mine()
    expect(await settled).toMatchObject({ txHash: pending.txHash })
    expect(await nonce()).toBe(1)
  })

  test('is found, if it was mined long ago', async () => {
    const pending = await killedAfter('sent')
    await mine()
    await mine()
    expect(await transactor.settle(pending, {})).toMatchObject({ txHash: pending.txHash })
  })

  test('that the pool has dropped is sent again, byte for byte', async () => {
    const pending = await killedAfter('sent')
    await rpc.request('anvil_dropTransaction', [pending.txHash])
    expect(await isKnown(pending.txHash)).toBe(false)
    const settled = transactor.settle(pending, {})
    await until(() => isKnown(pending.txHash))
    await mine()
    await settled
    expect(await nonce()).toBe(1)
  })

  test('that reverts says why, and that it is mined', async () => {
    const life = new AbortController()
    // Code that reverts, put there after the estimate.
    const target = `0x${'88'.repeat(20)}` as Address
    let told: PendingTransaction | undefined
    const prepared = await transactor.prepare({ ...call, to: target, valueWei: 0n, data: '0x01' }, {})
    const sent = transactor.send(
      { ...prepared, gas: 100_000n },
      { signal: life.signal, onPending: (pending) => void (told = pending), onSent: () => life.abort('killed') },
    )
    expect(await reasonOf(sent)).toBe('killed')
    await rpc.request('anvil_setCode', [target, '0x60006000fd'])
    await mine()
    expect(await failureOf(transactor.settle(told!, {}))).toMatchObject({
      code: 'TX_REVERTED',
      facts: { when: 'mined', txHash: (told as SignedTransaction).txHash },
    })
  })
})

describe('a nonce that somebody else took', () => {
  test('by a transaction that is mined: ours can never be, and the error says so', async () => {
    const pending = await killedAfter('signed')
    const other = await send(pending.nonce)
    await mine()
    expect(await failureOf(transactor.settle(pending, {}))).toMatchObject({
      code: 'TX_REPLACED',
      retryable: true,
      facts: { nonce: pending.nonce, txHash: pending.txHash },
    })
    expect(await rpc.request('eth_getTransactionReceipt', [other])).not.toBeNull()
    expect(await nonce()).toBe(1)
  })

  test('by one with a higher fee while ours was waiting', async () => {
    const sending = transactor.send(call, {})
    await until(async () => Number(await rpc.request('eth_getTransactionCount', [address, 'pending'])) === 1)
    await send(0)
    await mine()
    expect(await failureOf(sending)).toMatchObject({ code: 'TX_REPLACED' })
    expect(await nonce()).toBe(1)
  })
})

describe('a fee that became too low', () => {
  test('is raised under the same nonce, and what was saved knows both hashes', async () => {
    const pending = await killedAfter('sent')
    await setBaseFee(40n * GWEI)
    expect(await nonce()).toBe(0)
    const told: SignedTransaction[] = []
    const settled = transactor.settle(pending, { onPending: (next) => void told.push(next as SignedTransaction) })
    await until(async () => told.length > 0 && (await isKnown(told[0]!.txHash)))
    await mine()
    const [raised] = told
    expect(raised).toMatchObject({ nonce: pending.nonce, earlier: [pending.txHash] })
    const before = callOf(pending)
    expect(callOf(raised!)).toMatchObject({
      to: before.to,
      data: before.data,
      valueWei: before.valueWei,
      gas: before.gas,
    })
    expect(await settled).toMatchObject({ txHash: raised!.txHash })
    expect(await nonce()).toBe(1)
    // Whoever holds the raised step or the first one comes to the same end.
    expect(await transactor.settle(raised!, {})).toMatchObject({ txHash: raised!.txHash })
  })

  test('is not raised above the cap: time runs out with the hash, and nothing else was signed', async () => {
    const pending = await killedAfter('sent')
    await setBaseFee(5_000n * GWEI)
    const told: unknown[] = []
    const settled = transactor.settle(pending, { timeoutMs: 500, onPending: (next) => void told.push(next) })
    expect(await failureOf(settled)).toMatchObject({ code: 'TX_NOT_MINED', facts: { txHash: pending.txHash } })
    expect(told).toEqual([])
  })
})

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  const { port } = server.address() as AddressInfo
  await new Promise((closed) => server.close(closed))
  return port
}
