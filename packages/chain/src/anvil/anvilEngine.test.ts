import { once } from 'node:events'
import { connect } from 'node:net'
import { privateKeyToAccount } from 'viem/accounts'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  account,
  type Answer,
  ask,
  engineIn,
  eventually,
  listen,
  post,
  processesWith,
  request,
  signed,
  temporaryDirectory,
} from '../../test/localChain.ts'
import type { ChainEngine } from '../engine.ts'
import { BODY_BYTES_MAX } from '../proxy.ts'
import { allowedMethods } from '../rpcFilter.ts'

let engine: ChainEngine
let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let url: string

beforeAll(async () => {
  directory = await temporaryDirectory()
  engine = engineIn(directory.path)
  await engine.start()
  url = engine.rpcUrl
})
afterAll(async () => {
  await engine.stop()
  expect(processesWith(directory.path)).toEqual([])
  await directory[Symbol.asyncDispose]()
})

const blockNumber = async (): Promise<number> => Number(await request(url, 'eth_blockNumber'))
const nonceOf = async (address: string): Promise<number> =>
  Number(await request(url, 'eth_getTransactionCount', [address, 'latest']))
/** Account 1 sends in order; its tests run one after the other. */
async function send(
  fields: object = {},
): Promise<{ hash: string; receipt: { blockNumber: string; status: string; contractAddress: string | null } }> {
  const hash = (await request(url, 'eth_sendRawTransaction', [
    await signed(account(1), await nonceOf(account(1).address), fields),
  ])) as string
  const receipt = await request(url, 'eth_getTransactionReceipt', [hash])
  return { hash, receipt: receipt as { blockNumber: string; status: string; contractAddress: string | null } }
}

describe('cheats', () => {
  const cheats: readonly (readonly [string, readonly unknown[]])[] = [
    ['anvil_mine', ['0x5']],
    ['evm_mine', []],
    ['anvil_setBalance', [account(0).address, '0x0']],
    ['hardhat_setBalance', [account(0).address, '0x0']],
    ['anvil_impersonateAccount', [account(0).address]],
    ['eth_sendTransaction', [{ from: account(0).address, to: account(1).address, value: '0x1' }]],
    ['eth_sendUnsignedTransaction', [{ from: account(0).address, to: account(1).address, value: '0x1' }]],
    ['eth_sign', [account(0).address, '0x00']],
    ['eth_signTransaction', [{ from: account(0).address }]],
    ['eth_signTypedData_v4', [account(0).address, '{}']],
    ['personal_sign', ['0x00', account(0).address]],
    ['debug_traceTransaction', ['0x00']],
    ['evm_snapshot', []],
    ['anvil_dumpState', []],
    ['txpool_content', []],
    ['trace_block', ['latest']],
    ['ots_getApiLevel', []],
    ['admin_nodeInfo', []],
    ['wallet_getCapabilities', []],
  ]
  const state = async (): Promise<unknown> => [
    await request(url, 'eth_getBalance', [account(0).address, 'latest']),
    await nonceOf(account(0).address),
  ]

  test('are refused over HTTP, one by one and in an array, and change nothing', async () => {
    const before = await state()
    for (const [method, params] of cheats)
      expect(await ask(url, method, params)).toMatchObject({
        id: 1,
        error: { code: -32601, message: expect.stringContaining(method) },
      })
    const batch = cheats.map(([method, params], id) => ({ jsonrpc: '2.0', id, method, params }))
    const answers = (await post(url, JSON.stringify([...batch, { jsonrpc: '2.0', id: 'last', method: 'eth_chainId' }])))
      .body as Answer[]
    expect(answers.slice(0, -1).every(({ error }) => error?.code === -32601)).toBe(true)
    expect(answers.at(-1)).toEqual({ jsonrpc: '2.0', id: 'last', result: '0x7a69' })
    expect(await state()).toEqual(before)
  })

  test('are refused over WebSocket, one by one and in an array', async () => {
    const before = await state()
    const socket = await listen(engine.wsUrl)
    for (const [method, params] of cheats)
      expect(await socket.ask(method, params)).toMatchObject({ error: { code: -32601 } })
    socket.send(
      JSON.stringify(cheats.map(([method, params], id) => ({ jsonrpc: '2.0', id: 1000 + id, method, params }))),
    )
    await eventually(() => socket.pushed.length > 0)
    expect((socket.pushed[0] as Answer[]).map(({ error }) => error?.code)).toEqual(cheats.map(() => -32601))
    expect(await state()).toEqual(before)
    socket.close()
  })

  test('are refused however they are written', async () => {
    const before = await state()
    const to = JSON.stringify([account(0).address, '0x0'])
    for (const body of [
      `{"jsonrpc":"2.0","id":1,"method":"eth_chainId","method":"anvil_setBalance","params":${to}}`,
      `{"jsonrpc":"2.0","id":1,"method":"\\u0061nvil_setBalance","params":${to}}`,
      `{"jsonrpc":"2.0","id":1,"method":"ANVIL_setBalance","params":${to}}`,
      `[[{"jsonrpc":"2.0","id":1,"method":"anvil_setBalance","params":${to}}]]`,
      `{"jsonrpc":"2.0","id":1,"method":["anvil_setBalance"],"params":${to}}`,
    ]) {
      const { body: answer } = await post(url, body)
      expect(JSON.stringify(answer)).toMatch(/"error":\{"code":-326/)
    }
    // Here ours is the last of two equal keys, and only it goes on.
    expect(
      (await post(url, `{"jsonrpc":"2.0","id":1,"method":"anvil_setBalance","method":"eth_chainId","params":[]}`)).body,
    ).toMatchObject({ result: '0x7a69' })
    expect(await state()).toEqual(before)
  })

  test('nobody is unlocked', async () => expect(await request(url, 'eth_accounts')).toEqual([]))
})

test('every allowed method is one that the engine has', async () => {
  const { hash, receipt } = await send()
  const block = (await request(url, 'eth_getBlockByNumber', [receipt.blockNumber, false])) as { hash: string }
  const raw = await signed(account(1), await nonceOf(account(1).address))
  const special: Record<string, unknown[]> = {
    eth_feeHistory: ['0x1', 'latest', []],
    eth_getBalance: [account(0).address, 'latest'],
    eth_getCode: [account(0).address, 'latest'],
    eth_getTransactionCount: [account(0).address, 'latest'],
    eth_getStorageAt: [account(0).address, '0x0', 'latest'],
    eth_getProof: [account(0).address, [], 'latest'],
    eth_getBlockByHash: [block.hash, false],
    eth_getBlockByNumber: ['latest', false],
    eth_getBlockReceipts: ['latest'],
    eth_getTransactionByHash: [hash],
    eth_getRawTransactionByHash: [hash],
    eth_getTransactionReceipt: [hash],
    eth_getFilterChanges: [await request(url, 'eth_newBlockFilter')],
    eth_getFilterLogs: [await request(url, 'eth_newFilter', [{}])],
    eth_uninstallFilter: ['0x1'],
    eth_sendRawTransaction: [raw],
    web3_sha3: ['0x00'],
  }
  const byPattern: readonly (readonly [RegExp, readonly unknown[]])[] = [
    [/ByBlockHashAndIndex$/, [block.hash, '0x0']],
    [/ByBlockNumberAndIndex$/, ['latest', '0x0']],
    [/CountBy(Block)?Hash$/, [block.hash]],
    [/CountBy(Block)?Number$/, ['latest']],
    [/_call$|_estimateGas$|_createAccessList$/, [{ to: account(0).address }]],
    [/_getLogs$|_newFilter$/, [{}]],
  ]
  for (const method of allowedMethods) {
    if (method.endsWith('subscribe')) continue
    const answer = await ask(
      url,
      method,
      special[method] ?? byPattern.find(([pattern]) => pattern.test(method))?.[1] ?? [],
    )
    expect(answer.error, `${method} ${JSON.stringify(answer)}`).toBeUndefined()
  }
})

describe('a transaction', () => {
  test('has its receipt as soon as it is answered', async () => {
    for (let i = 0; i < 20; i++) expect((await send()).receipt).toMatchObject({ status: '0x1' })
  })

  test('is followed by three more blocks, so that nobody waits for confirmations for ever', async () => {
    const { receipt } = await send()
    await eventually(async () => (await blockNumber()) >= Number(receipt.blockNumber) + 3)
    expect(engine.head()!.number).toBeGreaterThanOrEqual(Number(receipt.blockNumber) + 3)
    expect(engine.finalized()).toEqual(engine.head())
  })

  test('may have the gas price as its fee limit, however many blocks came before', async () => {
    const gasPrice = BigInt((await request(url, 'eth_gasPrice')) as string)
    expect((await send({ maxFeePerGas: gasPrice, maxPriorityFeePerGas: gasPrice })).receipt.status).toBe('0x1')
    expect(
      (await send({ type: 'legacy', gasPrice, maxFeePerGas: undefined, maxPriorityFeePerGas: undefined })).receipt
        .status,
    ).toBe('0x1')
    const block = (await request(url, 'eth_getBlockByNumber', ['latest', false])) as { baseFeePerGas: string }
    expect(BigInt(block.baseFeePerGas)).toBe(1_000_000_000n)
    expect(BigInt((await request(url, 'eth_gasPrice')) as string)).toBe(gasPrice)
  })

  test('that waits for an earlier nonce is answered, stays, and is mined when the gap is filled', async () => {
    const from = account(2)
    const ahead = (await request(url, 'eth_sendRawTransaction', [await signed(from, 1)])) as string
    expect(await request(url, 'eth_getTransactionReceipt', [ahead])).toBeNull()
    await request(url, 'eth_sendRawTransaction', [await signed(from, 0)])
    await eventually(async () => (await request(url, 'eth_getTransactionReceipt', [ahead])) !== null)
  })

  test('that the pool refuses is refused with the reason of the engine', async () => {
    const raw = await signed(account(1), 0)
    expect(await ask(url, 'eth_sendRawTransaction', [raw])).toMatchObject({
      error: { message: expect.stringContaining('nonce too low') },
    })
    const poor = privateKeyToAccount(`0x${'5'.repeat(64)}`)
    expect(await ask(url, 'eth_sendRawTransaction', [await signed(poor as never, 0)])).toMatchObject({
      error: { message: expect.stringMatching(/insufficient funds/i) },
    })
    expect(await ask(url, 'eth_sendRawTransaction', ['0x1234'])).toMatchObject({ error: expect.anything() })
  })

  test('of fifty accounts at once: all are mined, in few blocks, and nobody is forgotten', async () => {
    const senders = Array.from({ length: 50 }, (_, i) =>
      privateKeyToAccount(`0x${(i + 1).toString(16).padStart(64, '0')}`),
    )
    for (const { address } of senders)
      await request(url, 'eth_sendRawTransaction', [
        await signed(account(3), await nonceOf(account(3).address), { to: address, value: 10n ** 18n }),
      ])
    const raw = await Promise.all(senders.map((sender) => signed(sender as never, 0)))
    const hashes = await Promise.all(raw.map((transaction) => request(url, 'eth_sendRawTransaction', [transaction])))
    const receipts = (await Promise.all(hashes.map((hash) => request(url, 'eth_getTransactionReceipt', [hash])))) as ({
      status: string
      blockNumber: string
    } | null)[]
    expect(receipts.every((receipt) => receipt?.status === '0x1')).toBe(true)
    expect(new Set(receipts.map((receipt) => receipt!.blockNumber)).size).toBeLessThan(50)
  })

  test('block times never fall and stay with the real time', async () => {
    const blocks = await Promise.all(
      Array.from(
        { length: await blockNumber() },
        (_, i) =>
          request(url, 'eth_getBlockByNumber', [`0x${(i + 1).toString(16)}`, false]) as Promise<{ timestamp: string }>,
      ),
    )
    const times = blocks.map(({ timestamp }) => Number(timestamp))
    expect(times).toEqual(times.toSorted((a, b) => a - b))
    expect(Math.abs(times.at(-1)! - Date.now() / 1000)).toBeLessThan(60)
  })
})

describe('gas', () => {
  /** SSTORE of the first calldata word at its own key, then LOG0. */
  const STORING = '0x600a600c600039600a6000f36000358055600080a000'

  test('an estimate for a call has a margin, one for a transfer has none', async () => {
    const { receipt } = await send({ to: undefined, value: 0n, data: STORING, gas: 200_000n })
    const to = receipt.contractAddress!
    const estimate = Number(
      await request(url, 'eth_estimateGas', [{ from: account(1).address, to, data: `0x${'01'.padStart(64, '0')}` }]),
    )
    expect(estimate).toBeGreaterThan(300_000)
    expect(estimate).toBeLessThan(400_000)
    expect(
      Number(
        await request(url, 'eth_estimateGas', [{ from: account(1).address, to: account(2).address, value: '0x1' }]),
      ),
    ).toBe(21_000)
  })

  test('revert data reaches the client as the engine gave it', async () => {
    const reverting = { data: '0x63f85c648260e01b60005260046000fd' }
    for (const method of ['eth_call', 'eth_estimateGas'])
      expect(await ask(url, method, [reverting])).toMatchObject({ error: { code: 3, data: '0xf85c6482' } })
  })

  test('a call that never ends is cut off at the gas of a block, whatever gas it names, and blocks go on', async () => {
    const endless = { data: '0x5b600056', gas: '0xffffffffffff' }
    const calls = Array.from({ length: 12 }, () => ask(url, 'eth_call', [endless]))
    expect((await send()).receipt.status).toBe('0x1')
    for (const answer of await Promise.all(calls))
      expect(answer).toMatchObject({ error: { message: expect.stringMatching(/gas/i) } })
  })
})

describe('push', () => {
  /** LOG1 with topic 7 on every call. */
  const LOGGING = '0x6008600c60003960086000f3600760006000a100'

  test('heads, logs and accepted transactions come over WebSocket without asking', async () => {
    const to = (await send({ to: undefined, value: 0n, data: LOGGING, gas: 200_000n })).receipt.contractAddress!
    const socket = await listen(engine.wsUrl)
    const topic = `0x${'7'.padStart(64, '0')}`
    const ids = {
      heads: (await socket.ask('eth_subscribe', ['newHeads'])).result,
      logs: (await socket.ask('eth_subscribe', ['logs', { address: to, topics: [topic] }])).result,
      others: (await socket.ask('eth_subscribe', ['logs', { address: account(0).address }])).result,
      accepted: (await socket.ask('eth_subscribe', ['newPendingTransactions'])).result,
    }
    const { hash, receipt } = await send({ to, value: 0n, gas: 100_000n })
    const told = (id: unknown): unknown[] =>
      (socket.pushed as { params: { subscription: unknown; result: unknown } }[])
        .filter(({ params }) => params.subscription === id)
        .map(({ params }) => params.result)
    await eventually(() => told(ids.logs).length > 0)
    expect(told(ids.logs)).toMatchObject([
      { address: to, topics: [topic], transactionHash: hash, blockNumber: receipt.blockNumber },
    ])
    expect(told(ids.heads)).toContainEqual(
      expect.objectContaining({
        number: receipt.blockNumber,
        hash: expect.stringMatching(/^0x/),
        parentHash: expect.any(String),
      }),
    )
    expect(told(ids.accepted)).toEqual([hash])
    expect(told(ids.others)).toEqual([])
    expect(told(ids.heads)[0]).not.toHaveProperty('transactions')

    expect(await socket.ask('eth_unsubscribe', [ids.accepted])).toMatchObject({ result: true })
    expect(await socket.ask('eth_unsubscribe', [ids.accepted])).toMatchObject({ result: false })
    await send()
    expect(told(ids.accepted)).toEqual([hash])
    socket.close()
  })

  test('blocks come one by one with the logs that were asked for, none left out, none without its block', async () => {
    const to = (await send({ to: undefined, value: 0n, data: LOGGING, gas: 200_000n })).receipt.contractAddress!
    const other = (await send({ to: undefined, value: 0n, data: LOGGING, gas: 200_000n })).receipt.contractAddress!
    const socket = await listen(engine.wsUrl)
    const topic = `0x${'7'.padStart(64, '0')}`
    expect(await socket.ask('eth_subscribe', ['weightless_blocks', { address: 'x' }])).toHaveProperty('error')
    const id = (await socket.ask('eth_subscribe', ['weightless_blocks', { address: [to], topics: [[topic]] }])).result
    type Told = { number: string; hash: string; parentHash: string; logs: { transactionHash: string }[] }
    const blocks = (): Told[] =>
      (socket.pushed as { params: { subscription: unknown; result: Told } }[])
        .filter(({ params }) => params.subscription === id)
        .map(({ params }) => params.result)
    const hashes: string[] = []
    for (const target of [to, other, account(2).address, to])
      hashes.push((await send({ to: target, value: 0n, gas: 100_000n })).hash)
    const wanted = [hashes[0], hashes[3]]
    await eventually(() => blocks().flatMap(({ logs }) => logs).length === 2)
    expect(blocks().flatMap(({ logs }) => logs.map((log) => log.transactionHash))).toEqual(wanted)
    for (const [i, block] of blocks().entries()) {
      if (i > 0) expect(block.parentHash).toBe(blocks()[i - 1]!.hash)
      expect(Object.keys(block)).toEqual(['number', 'hash', 'parentHash', 'timestamp', 'logs'])
    }
    socket.close()
  })

  test('a transaction may come over WebSocket too', async () => {
    const socket = await listen(engine.wsUrl)
    const { result } = await socket.ask('eth_sendRawTransaction', [
      await signed(account(1), await nonceOf(account(1).address)),
    ])
    expect((await socket.ask('eth_getTransactionReceipt', [result])).result).toMatchObject({ status: '0x1' })
    socket.close()
  })

  test('the engine tells its own listeners of every block, in order', async () => {
    const numbers: number[] = []
    const endFaulty = engine.onBlock(() => {
      throw new Error('a fault of the listener')
    })
    const end = engine.onBlock((block) => numbers.push(block.number))
    const first = await blockNumber()
    await send()
    await send()
    end()
    endFaulty()
    expect(numbers.length).toBeGreaterThanOrEqual(2)
    expect(numbers).toEqual(numbers.map((_, i) => numbers[0]! + i))
    expect(numbers[0]).toBeGreaterThan(first - 1)
  })
})

describe('limits of the port', () => {
  test('a body over the limit is refused with 413, declared or not, and JSON all the same', async () => {
    const large = 'x'.repeat(BODY_BYTES_MAX + 1)
    expect(await post(url, large)).toMatchObject({ status: 413, body: { error: { code: -32600 } } })
    const stream = new ReadableStream<Uint8Array>({
      start(controller) {
        for (let i = 0; i < 3; i++) controller.enqueue(new Uint8Array(BODY_BYTES_MAX / 2).fill(0x78))
        controller.close()
      },
    })
    const response = await fetch(url, { method: 'POST', body: stream, duplex: 'half' } as RequestInit)
    expect(response.status).toBe(413)
    await response.body?.cancel()
  })

  test('large bodies that stop half way hold up no small ones at all, and large ones for a moment only', async () => {
    const { port } = new URL(url)
    const slow = Array.from({ length: 40 }, () => {
      const socket = connect(Number(port), '127.0.0.1')
      socket.on('error', () => undefined)
      socket.write('POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n[')
      return socket
    })
    await Promise.all(slow.map((socket) => once(socket, 'connect')))
    expect(await request(url, 'eth_chainId')).toBe('0x7a69')
    const large = { to: account(2).address, data: `0x${'00'.repeat(50_000)}` }
    expect(await request(url, 'eth_call', [large, 'latest'])).toBe('0x')
    for (const socket of slow) socket.destroy()
  })

  test('a message over the limit ends its own connection and no other', async () => {
    const [good, bad] = await Promise.all([listen(engine.wsUrl), listen(engine.wsUrl)])
    bad.send('x'.repeat(BODY_BYTES_MAX + 1))
    await bad.closed
    expect(await good.ask('eth_chainId')).toMatchObject({ result: '0x7a69' })
    good.close()
  })

  test('a connection has a bounded number of subscriptions', async () => {
    const socket = await listen(engine.wsUrl)
    const answers = await Promise.all(Array.from({ length: 70 }, () => socket.ask('eth_subscribe', ['newHeads'])))
    expect(answers.filter(({ error }) => error?.message.includes('at most 64'))).toHaveLength(6)
    socket.close()
  })

  test('more requests at once than a connection may have in work are all answered', async () => {
    const socket = await listen(engine.wsUrl)
    const answers = await Promise.all(Array.from({ length: 1000 }, () => socket.ask('eth_chainId')))
    expect(answers.every(({ result }) => result === '0x7a69')).toBe(true)
    socket.close()
  })

  test('any page may ask: CORS is open, preflight included', async () => {
    const preflight = await fetch(url, {
      method: 'OPTIONS',
      headers: { origin: 'http://a.page', 'access-control-request-method': 'POST' },
    })
    expect(preflight.status).toBe(204)
    expect(preflight.headers.get('access-control-allow-origin')).toBe('*')
    expect(preflight.headers.get('access-control-allow-headers')).toBe('*')
    expect((await post(url, '{}')).headers.get('access-control-allow-origin')).toBe('*')
  })

  test('what is not JSON-RPC gets JSON, never a page', async () => {
    expect((await fetch(`${url}/health`)).status).toBe(200)
    const response = await fetch(url)
    expect(response.status).toBe(405)
    expect(await response.json()).toMatchObject({ error: { code: -32600 } })
    expect((await post(url, 'hello')).body).toMatchObject({ error: { code: -32700 }, id: null })
  })
})
