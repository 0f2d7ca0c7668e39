import { keccak256 } from '@weightless/kernels'
import { fromHex, toHex, type Address } from '@weightless/core'
import { privateKeyToAccount } from 'viem/accounts'
import { describe, expect, test } from 'vitest'
import { keyOf } from '../../../sim/fakes/network.ts'
import { failureOf, reasonOf, turns, turnsUntil } from '../../../sim/fakes/outcome.ts'
import { createFakeChain, type FakeChain } from '../../../sim/fakes/chain.ts'
import { webClock, webRandom } from './defaults.ts'
import { fail as failRpc } from './errors.ts'
import { createRpc, type Rpc } from './rpc.ts'
import { privateKeySigner, type SignerLike } from './signer.ts'
import { createTransactor, type Transactor } from './transactor.ts'

/** Waits of a second pass at once, one deadline comes soon, the others keep their length. */
const clock = {
  ...webClock,
  sleep: (ms: number, options: object) => webClock.sleep(ms <= 1_000 ? 0 : ms === 1_001 ? 20 : ms, options),
}
const call = { to: `0x${'99'.repeat(20)}` as Address, data: '0x', valueWei: 1n } as const
let wallets = 100

type Answer = (method: string, params: readonly unknown[], next: () => Promise<unknown>) => unknown

/** A funded wallet of its own on a chain of its own; `intercept` stands between the two. */
function world(
  intercept: Answer = (_, __, next) => next(),
  options: { readonly chain?: FakeChain; readonly signer?: SignerLike } = {},
) {
  const chain = options.chain ?? createFakeChain()
  const key = keyOf(wallets++)
  const address = privateKeyToAccount(key).address.toLowerCase() as Address
  chain.setBalance(address, 10n ** 20n)
  const deps = { clock, random: webRandom }
  const real = createRpc('http://chain.test/', { ...deps, net: { fetch: (request) => chain.handle(request) } })
  const rpc: Rpc = {
    url: real.url,
    request: async (method, params, o) => intercept(method, params, () => real.request(method, params, o)),
  }
  const make = (signer: SignerLike = options.signer ?? privateKeySigner(key)): Transactor =>
    createTransactor({ chainId: chain.chainId, signer }, { rpc, ...deps })
  return { chain, address, key, rpc, make, transactor: make() }
}

describe('one wallet, many senders', () => {
  test('thirty calls at once from two transactors use each nonce once, in order', async () => {
    const { chain, address, make, transactor } = world()
    const other = make()
    const mined = await Promise.all(
      Array.from({ length: 30 }, (_, i) => (i % 2 ? transactor : other).send({ ...call, valueWei: BigInt(i) }, {})),
    )
    expect(new Set(mined.map(({ txHash }) => txHash)).size).toBe(30)
    expect(chain.nonces.get(address)).toEqual(Array.from({ length: 30 }, (_, i) => i))
    expect(chain.calls.get('eth_sendRawTransaction')).toBe(30)
  })

  test('an endpoint that counts late does not lead to a nonce twice', async () => {
    const { chain, address, transactor } = world(
      (method, _, next) => (method === 'eth_getTransactionCount' ? '0x0' : next()),
      { chain: createFakeChain({ mining: 'manual' }) },
    )
    const work = Promise.all([transactor.send(call, {}), transactor.send(call, {}), transactor.send(call, {})])
    await turnsUntil(() => chain.calls.get('eth_sendRawTransaction') === 3)
    chain.mine()
    await work
    expect(chain.nonces.get(address)).toEqual([0, 1, 2])
  })

  test('a transaction that another program put in between is stepped over', async () => {
    let isLate = true
    const { chain, address, key, transactor } = world((method, _, next) => {
      if (method !== 'eth_getTransactionCount' || !isLate) return next()
      isLate = false
      return '0x0'
    })
    const raw = await privateKeyToAccount(key).signTransaction({
      chainId: chain.chainId,
      nonce: 0,
      to: call.to,
      gas: 21_000n,
      maxFeePerGas: 2n,
      maxPriorityFeePerGas: 1n,
      type: 'eip1559',
    })
    await createRpc('http://chain.test/', {
      clock,
      random: webRandom,
      net: { fetch: (request) => chain.handle(request) },
    }).request('eth_sendRawTransaction', [raw])
    chain.mine()
    await transactor.send(call, {})
    expect(chain.nonces.get(address)).toEqual([0, 1])
  })

  test('one whose nonce another program has used in the same block is sent again with the next one', async () => {
    const dropped = 'transaction dropped: when its block was built, its nonce was used or its sender could not pay'
    let isFirst = true
    const { chain, address, transactor } = world((method, _, next) => {
      if (method !== 'eth_sendRawTransaction' || !isFirst) return next()
      isFirst = false
      throw rpcError(dropped)
    })
    await transactor.send(call, {})
    expect(isFirst).toBe(false)
    expect(chain.nonces.get(address)).toEqual([0])
  })

  test('a call that was prepared before another one was sent does not use that one’s nonce', async () => {
    const { chain, address, transactor } = world()
    const prepared = await transactor.prepare(call, {})
    await transactor.send(call, {})
    await transactor.send(prepared, {})
    expect(chain.nonces.get(address)).toEqual([0, 1])
    expect(chain.calls.get('eth_sendRawTransaction')).toBe(2)
  })

  test('a wallet that is always a step behind ends in an error, not in a loop', async () => {
    const { transactor } = world((method, _, next) =>
      method === 'eth_sendRawTransaction' ? Promise.reject(rpcError('nonce too low')) : next(),
    )
    expect(await failureOf(transactor.send(call, {}))).toMatchObject({
      code: 'NONCE_CONFLICT',
      retryable: true,
      facts: { attempts: 32 },
    })
  })

  test('one that gives up while waiting leaves the row, and the others go on', async () => {
    const { transactor, chain } = world(undefined, { chain: createFakeChain({ mining: 'manual' }) })
    const controller = new AbortController()
    const first = transactor.send(call, {})
    const second = reasonOf(transactor.send(call, { signal: controller.signal }))
    controller.abort('no')
    const third = transactor.send(call, {})
    expect(await second).toBe('no')
    await turnsUntil(() => chain.calls.get('eth_sendRawTransaction') === 2)
    chain.mine()
    await Promise.all([first, third])
  })
})

describe('answers that get lost', () => {
  test('a transaction that arrived although the answer did not is not sent again under another nonce', async () => {
    let isLost = true
    const { chain, address, transactor } = world(async (method, _, next) => {
      const result = await next()
      if (method !== 'eth_sendRawTransaction' || !isLost) return result
      isLost = false
      chain.mine()
      throw rpcError('nonce too low')
    })
    const { txHash } = await transactor.send(call, {})
    expect(chain.nonces.get(address)).toEqual([0])
    expect(txHash).toMatch(/^0x[0-9a-f]{64}$/)
  })

  test('`already known` is what we wanted', async () => {
    const { chain, address, transactor } = world(async (method, _, next) => {
      const result = await next()
      if (method === 'eth_sendRawTransaction') throw rpcError('already known')
      return result
    })
    await transactor.send(call, {})
    expect(chain.nonces.get(address)).toEqual([0])
  })

  test('an endpoint that goes away while sending leaves the hash to look up', async () => {
    const { transactor } = world((method, _, next) =>
      method === 'eth_sendRawTransaction' ? Promise.reject(unreachable()) : next(),
    )
    const error = await failureOf(transactor.send(call, {}))
    expect(error).toMatchObject({ code: 'TX_NOT_MINED', retryable: false })
    expect(error.facts['txHash']).toMatch(/^0x[0-9a-f]{64}$/)
  })

  test('an endpoint that is away while we wait is asked again: the money is spent', async () => {
    let failures = 3
    const { transactor } = world((method, _, next) =>
      method === 'eth_getTransactionReceipt' && failures-- > 0 ? Promise.reject(unreachable()) : next(),
    )
    expect(await transactor.send(call, {})).toMatchObject({ blockNumber: 1 })
  })
})

describe('waiting', () => {
  test('a receipt that came with the answer to the transaction is not asked for again', async () => {
    const { chain, key } = world()
    const deps = { clock, random: webRandom }
    const handled: string[] = []
    const net = {
      fetch: async (request: Request) => {
        const asked = (await request.clone().json()) as { method: string } | { method: string }[]
        handled.push([asked].flat().map(({ method }) => method).join(' ')) // prettier-ignore
        const answer = await chain.handle(request)
        if (!handled.at(-1)!.startsWith('eth_sendRawTransaction')) return answer
        chain.mine()
        const receipt = { jsonrpc: '2.0', id: 1, method: 'eth_getTransactionReceipt' }
        const [sent, found] = (await answer.json()) as { id: number; result: string }[]
        const mined = await chain.handle(
          new Request('http://x/', { method: 'POST', body: JSON.stringify({ ...receipt, params: [sent!.result] }) }),
        )
        return Response.json([sent, { ...((await mined.json()) as object), id: found!.id }])
      },
    }
    const rpc = createRpc('http://chain.test/', { ...deps, net })
    const transactor = createTransactor({ chainId: chain.chainId, signer: privateKeySigner(key) }, { rpc, ...deps })
    expect(await transactor.send(call, {})).toMatchObject({ blockNumber: 1 })
    expect(handled.filter((methods) => methods.includes('eth_getTransactionReceipt'))).toEqual([
      'eth_sendRawTransaction eth_getTransactionReceipt',
    ])
  })

  test('a transaction that is not mined in time is told with its hash', async () => {
    const { transactor } = world(undefined, { chain: createFakeChain({ mining: 'manual' }) })
    const seen: string[] = []
    const error = await failureOf(transactor.send(call, { timeoutMs: 1_001, onSent: (hash) => seen.push(hash) }))
    expect(error).toMatchObject({ code: 'TX_NOT_MINED', facts: { timeoutMs: 1_001, txHash: seen[0] } })
  })

  test('an abort while waiting stops the questions', async () => {
    const { chain, transactor } = world(undefined, { chain: createFakeChain({ mining: 'manual' }) })
    const controller = new AbortController()
    const caught = reasonOf(transactor.send(call, { signal: controller.signal }))
    await turnsUntil(() => (chain.calls.get('eth_getTransactionReceipt') ?? 0) > 2)
    controller.abort('enough')
    expect(await caught).toBe('enough')
    const asked = chain.calls.get('eth_getTransactionReceipt')
    await turns(30)
    expect(chain.calls.get('eth_getTransactionReceipt')).toBe(asked)
  })

  test('a mined transaction that reverted is an error with the block', async () => {
    const { transactor } = world(async (method, _, next) => {
      const result = await next()
      return method === 'eth_getTransactionReceipt' && result !== null
        ? { ...(result as object), status: '0x0' }
        : result
    })
    expect(await failureOf(transactor.send(call, {}))).toMatchObject({
      code: 'TX_REVERTED',
      facts: { when: 'mined', block: 1 },
    })
  })

  test('a receipt of another transaction is refused', async () => {
    const { transactor } = world(async (method, _, next) => {
      const result = await next()
      return method === 'eth_getTransactionReceipt' && result !== null
        ? { ...(result as object), transactionHash: `0x${'1'.repeat(64)}` }
        : result
    })
    expect(await failureOf(transactor.send(call, {}))).toMatchObject({ code: 'RPC_ANSWER_INVALID' })
  })
})

describe('before anything is signed', () => {
  const unsigned = (signed: { count: number }): SignerLike => ({
    address: privateKeyToAccount(keyOf(1)).address,
    signTransaction: async () => ((signed.count += 1), '0x'),
  })

  test('an estimate that reverts names the reason, decoded', async () => {
    const signed = { count: 0 }
    const data = '0xf85c6482' + [1n, 2n, 3n].map((value) => value.toString(16).padStart(64, '0')).join('')
    const { make, chain } = world((method, _, next) =>
      method === 'eth_estimateGas' ? Promise.reject(rpcError('execution reverted', 3, data)) : next(),
    )
    chain.setBalance(privateKeyToAccount(keyOf(1)).address, 10n ** 20n)
    const error = await failureOf(make(unsigned(signed)).send(call, {}))
    expect(error).toMatchObject({
      code: 'TX_REVERTED',
      facts: { when: 'before sending', reason: 'NotEnoughFee(1, 2, 3)' },
    })
    expect(signed.count).toBe(0)
  })

  test('a wallet on another chain is refused', async () => {
    const { make, chain, address } = world()
    const sent: unknown[] = []
    const provider = {
      request: async ({ method }: { method: string }) => (sent.push(method), method === 'eth_chainId' ? '0x1' : '0x'),
    }
    const error = await failureOf(make({ address, provider }).send(call, {}))
    expect(error).toMatchObject({ code: 'NETWORK_MISMATCH', facts: { expected: chain.chainId, actual: 1 } })
    expect(sent).toEqual(['eth_chainId'])
  })

  test('gas that costs more than any sane market is refused', async () => {
    const signed = { count: 0 }
    const { make, chain } = world((method, _, next) =>
      method === 'eth_getBlockByNumber' ? { number: '0x1', hash: '0x', baseFeePerGas: '0x38d7ea4c68000' } : next(),
    )
    chain.setBalance(privateKeyToAccount(keyOf(1)).address, 10n ** 30n)
    expect(await failureOf(make(unsigned(signed)).send(call, {}))).toMatchObject({
      code: 'FEE_ABOVE_CAP',
      retryable: true,
    })
    expect(signed.count).toBe(0)
  })
})

describe('what is signed', () => {
  async function signedBy(intercept: Answer) {
    const seen: Record<string, unknown>[] = []
    const account = privateKeyToAccount(keyOf(2))
    const { make, chain } = world(intercept)
    chain.setBalance(account.address, 10n ** 24n)
    await make({
      address: account.address,
      signTransaction: (transaction: never) => (seen.push(transaction), account.signTransaction(transaction)),
    }).send(call, {})
    return seen[0]!
  }

  test('thirty percent more gas than estimated, twice the base fee and the tip', async () => {
    expect(await signedBy((_, __, next) => next())).toMatchObject({
      type: 'eip1559',
      chainId: 31337,
      gas: 260_000n,
      maxFeePerGas: 3n * 10n ** 9n,
      maxPriorityFeePerGas: 10n ** 9n,
    })
  })

  test('a tip of the endpoint is capped', async () => {
    const signed = await signedBy((method, _, next) =>
      method === 'eth_maxPriorityFeePerGas' ? '0xe8d4a51000000' : next(),
    )
    expect(signed).toMatchObject({ maxPriorityFeePerGas: 100n * 10n ** 9n })
  })

  test('a chain without tips gets our own, one without base fees a gas price', async () => {
    const noTip: Answer = (method, _, next) =>
      method === 'eth_maxPriorityFeePerGas' ? Promise.reject(rpcError('Method not found', -32601)) : next()
    expect(await signedBy(noTip)).toMatchObject({ maxPriorityFeePerGas: 10n ** 9n })
    const legacy: Answer = (method, params, next) =>
      method === 'eth_getBlockByNumber'
        ? { number: '0x1', hash: '0x' }
        : method === 'eth_gasPrice'
          ? '0x77359400'
          : noTip(method, params, next)
    expect(await signedBy(legacy)).toMatchObject({ type: 'legacy', gasPrice: 2n * 10n ** 9n })
  })
})

describe('wallets that send by themselves', () => {
  test('are asked one at a time, and their transactions are waited for on our endpoint', async () => {
    const { make, chain, address, key, rpc } = world()
    let open = 0
    let most = 0
    let nonce = 0
    const provider = {
      request: async ({
        method,
        params,
      }: {
        method: string
        params?: readonly { to: Address; value: string; gas: string }[]
      }) => {
        if (method === 'eth_chainId') return '0x7a69'
        most = Math.max(most, ++open)
        await turns(2)
        const { to, value, gas } = params![0]!
        const raw = await privateKeyToAccount(key).signTransaction({
          chainId: 31337,
          nonce: nonce++,
          to,
          value: BigInt(value),
          gas: BigInt(gas),
          maxFeePerGas: 2n,
          maxPriorityFeePerGas: 1n,
          type: 'eip1559',
        })
        await rpc.request('eth_sendRawTransaction', [raw])
        open -= 1
        return toHex(keccak256(fromHex(raw)))
      },
    }
    const transactor = make({ address, provider })
    await Promise.all([1n, 2n, 3n].map((valueWei) => transactor.send({ ...call, valueWei }, {})))
    expect(most).toBe(1)
    expect(chain.nonces.get(address)).toEqual([0, 1, 2])
  })

  test('that are told no by their user are an error with the reason', async () => {
    const { make, address } = world()
    const provider = {
      request: async ({ method }: { method: string }) =>
        method === 'eth_chainId'
          ? '0x7a69'
          : Promise.reject(Object.assign(new Error('User rejected the request.'), { code: 4001 })),
    }
    expect(await failureOf(make({ address, provider }).send(call, {}))).toMatchObject({
      code: 'SIGNER_REFUSED',
      facts: { reason: 'User rejected the request.' },
    })
  })

  test('that picked a used nonce are asked again', async () => {
    const { make, address, key, rpc } = world()
    let tries = 0
    const signer = {
      getAddress: async () => address as string,
      signTransaction: async () => '0x',
      provider: { getNetwork: async () => ({ chainId: 31337 }) },
      sendTransaction: async ({ to }: { to: Address }) => {
        if (++tries < 3) throw Object.assign(new Error('nonce has already been used'), { code: 'NONCE_EXPIRED' })
        const raw = await privateKeyToAccount(key).signTransaction({
          chainId: 31337,
          nonce: 0,
          to,
          gas: 21_000n,
          maxFeePerGas: 2n,
          maxPriorityFeePerGas: 1n,
          type: 'eip1559',
        })
        return { hash: (await rpc.request('eth_sendRawTransaction', [raw])) as string }
      },
    }
    expect(await make(signer).send(call, {})).toMatchObject({ blockNumber: 1 })
    expect(tries).toBe(3)
  })
})

function rpcError(message: string, rpcCode = -32000, data?: string) {
  return failRpc('RPC_ERROR', { method: 'm', rpcCode, message, data })
}
function unreachable() {
  return failRpc('RPC_UNREACHABLE', { method: 'm' })
}
