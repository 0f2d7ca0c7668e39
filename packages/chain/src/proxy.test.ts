import { describe, expect, test } from 'vitest'
import { fail } from './errors.ts'
import { BODY_BYTES_MAX, CALL_COUNT_MAX, createProxy, type Proxy, type ProxyDeps } from './proxy.ts'

type Asked = { readonly method: string; readonly params: readonly unknown[] }

/** A proxy before an engine that answers every call with `tails[method]`, or its own name. */
function proxyWith(options: { tails?: Record<string, string>; deps?: Partial<ProxyDeps> } = {}): {
  proxy: Proxy
  asked: Asked[]
  ask: (body: unknown, caller?: object) => Promise<unknown>
  text: (body: string) => Promise<string | undefined>
} {
  const asked: Asked[] = []
  const proxy = createProxy({
    blockGasLimit: 30_000_000n,
    upstream: async () => ({
      async ask(method, params) {
        asked.push({ method, params })
        return options.tails?.[method] ?? `"result":${JSON.stringify(method)}}`
      },
    }),
    submitted: async () => 'mined',
    ...options.deps,
  })
  return {
    proxy,
    asked,
    text: (body) => proxy.answer(body, {}),
    ask: async (body, caller = {}) =>
      JSON.parse((await proxy.answer(JSON.stringify(body), caller)) ?? 'null') as unknown,
  }
}
const call = (method: string, params: unknown[] = [], id: unknown = 1): object => ({
  jsonrpc: '2.0',
  id,
  method,
  params,
})

describe('ids', () => {
  test.each(['1', '0', '-1', '1.5', '17690000000001234567', '9007199254740993', '"a\\u0062c"', '"✓"', 'null'])(
    '%s comes back as it was',
    async (id) => {
      const { text } = proxyWith()
      expect(await text(`{"jsonrpc":"2.0","id":${id},"method":"eth_chainId"}`)).toBe(
        `{"jsonrpc":"2.0","id":${id},"result":"eth_chainId"}`,
      )
      expect(await text(`{"jsonrpc":"2.0","id":${id},"method":"anvil_mine"}`)).toContain(`"id":${id}`)
    },
  )
})

describe('arrays', () => {
  test('each element is decided and answered for itself, in order', async () => {
    const { ask, asked } = proxyWith()
    const answers = await ask([
      call('eth_chainId', [], 1),
      call('anvil_mine', [], 2),
      'x',
      call('eth_accounts', [], 'three'),
      call('evm_revert', [], 4),
    ])
    expect(answers).toMatchObject([
      { id: 1, result: 'eth_chainId' },
      { id: 2, error: { code: -32601 } },
      { id: null, error: { code: -32600 } },
      { id: 'three', result: [] },
      { id: 4, error: { code: -32601 } },
    ])
    expect(asked).toEqual([{ method: 'eth_chainId', params: [] }])
  })

  test('parameters that the engine does not understand are refused in words for people', async () => {
    const engineSays = (message: string): string => `"error":${JSON.stringify({ code: -32602, message })}}`
    const { ask } = proxyWith({
      tails: {
        eth_getBalance: engineSays('data did not match any variant of untagged enum EthRpcCall'),
        eth_getCode: engineSays('invalid block number'),
      },
    })
    expect(await ask(call('eth_getBalance'))).toMatchObject({
      id: 1,
      error: {
        code: -32602,
        message: expect.stringMatching(/^the parameters of eth_getBalance are missing .*Next: /),
      },
    })
    expect(await ask(call('eth_getCode'))).toMatchObject({ error: { code: -32602, message: 'invalid block number' } })
  })

  test('transactions go first, so that the reads beside them see their block', async () => {
    const order: string[] = []
    const { ask, asked } = proxyWith({
      tails: { eth_sendRawTransaction: '"result":"0xabc"}' },
      deps: {
        submitted: async () => {
          await new Promise((resolve) => setImmediate(resolve))
          order.push('mined')
          return 'mined'
        },
      },
    })
    expect(await ask([call('eth_blockNumber', [], 1), call('eth_sendRawTransaction', ['0x'], 2)])).toMatchObject([
      { id: 1 },
      { id: 2, result: '0xabc' },
    ])
    expect(asked.map(({ method }) => method)).toEqual(['eth_sendRawTransaction', 'eth_blockNumber'])
    expect(order).toEqual(['mined'])
  })

  test.each([
    ['an empty array', '[]', -32600],
    ['an array in an array', '[[{"jsonrpc":"2.0","id":1,"method":"anvil_mine"}]]', -32600],
    ['too many calls', JSON.stringify(Array.from({ length: CALL_COUNT_MAX + 1 }, () => call('eth_chainId'))), -32600],
  ])('%s is refused', async (_, body, code) => {
    const { text, asked } = proxyWith()
    const answer = JSON.parse((await text(body))!) as unknown
    expect(Array.isArray(answer) ? answer[0] : answer).toMatchObject({ error: { code }, id: null })
    expect(asked).toEqual([])
  })

  test('as many calls as viem sends in one array go through', async () => {
    const { ask } = proxyWith()
    expect(await ask(Array.from({ length: CALL_COUNT_MAX }, (_, id) => call('eth_chainId', [], id)))).toHaveLength(
      CALL_COUNT_MAX,
    )
  })
})

describe('what is no request', () => {
  test.each([
    ['not JSON', '{"jsonrpc":', -32700],
    ['nothing', '', -32700],
    ['a number', '1', -32600],
    ['null', 'null', -32600],
    ['another version', '{"jsonrpc":"1.0","id":1,"method":"eth_chainId"}', -32600],
    ['a method that is a number', '{"jsonrpc":"2.0","id":1,"method":1}', -32600],
    ['a method that is an array', '{"jsonrpc":"2.0","id":1,"method":["anvil_mine"]}', -32600],
    ['a method that is an object', '{"jsonrpc":"2.0","id":1,"method":{"toString":"anvil_mine"}}', -32600],
    ['no method', '{"jsonrpc":"2.0","id":1}', -32600],
    ['params that are text', '{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":"x"}', -32600],
  ])('%s', async (_, body, code) => {
    const { text, asked } = proxyWith()
    expect(JSON.parse((await text(body))!)).toMatchObject({
      jsonrpc: '2.0',
      error: { code, message: expect.any(String) },
    })
    expect(asked).toEqual([])
  })

  test('bytes that are not UTF-8', async () => {
    const { proxy } = proxyWith()
    expect(await proxy.answer(Uint8Array.of(0x7b, 0xff, 0x7d), {})).toContain('-32700')
  })

  test('a notification is carried out and not answered', async () => {
    const { text, asked } = proxyWith()
    expect(await text('{"jsonrpc":"2.0","method":"eth_chainId"}')).toBeUndefined()
    expect(
      await text('[{"jsonrpc":"2.0","method":"eth_chainId"},{"jsonrpc":"2.0","method":"anvil_mine"}]'),
    ).toBeUndefined()
    expect(asked.map(({ method }) => method)).toEqual(['eth_chainId', 'eth_chainId'])
  })
})

describe('what reaches the engine is built anew', () => {
  test('of two equal keys the last one counts for us, and the engine sees only that one', async () => {
    const { text, asked } = proxyWith()
    expect(await text('{"jsonrpc":"2.0","id":1,"method":"eth_chainId","method":"anvil_mine"}')).toContain('-32601')
    expect(await text('{"jsonrpc":"2.0","id":1,"method":"anvil_mine","method":"eth_chainId","x":1}')).toContain(
      '"result":"eth_chainId"',
    )
    expect(asked).toEqual([{ method: 'eth_chainId', params: [] }])
  })

  test('numbers, escapes and unknown keys of the request do not go through', async () => {
    const { text, asked } = proxyWith()
    await text(
      '{"jsonrpc":"2.0","id":1,"method":"\\u0065th_getBalance","params":["\\u0030x1"],"__proto__":{"method":"anvil_mine"}}',
    )
    expect(asked).toEqual([{ method: 'eth_getBalance', params: ['0x1'] }])
  })
})

describe('what comes back', () => {
  test('errors of the engine pass as they are, revert data included', async () => {
    const tail = '"error":{"code":3,"message":"execution reverted: custom error 0xf85c6482","data":"0xf85c6482"}}'
    const { text } = proxyWith({ tails: { eth_call: tail, eth_estimateGas: tail } })
    for (const method of ['eth_call', 'eth_estimateGas']) {
      expect(await text(JSON.stringify(call(method, [{ data: '0x01' }])))).toBe(`{"jsonrpc":"2.0","id":1,${tail}`)
    }
  })

  test('an estimate for a call has a margin, one for a plain transfer has none', async () => {
    const { ask } = proxyWith({ tails: { eth_estimateGas: '"result":"0x5208"}' } })
    expect(await ask(call('eth_estimateGas', [{ to: '0x1', data: '0x01' }]))).toMatchObject({
      result: `0x${(21_000 + 300_000).toString(16)}`,
    })
    expect(await ask(call('eth_estimateGas', [{ to: '0x1', value: '0x1' }]))).toMatchObject({ result: '0x5208' })
  })

  test('a transaction is answered after its block', async () => {
    let mine: (fate: 'mined') => void = () => undefined
    const accepted: string[] = []
    const { ask } = proxyWith({
      tails: { eth_sendRawTransaction: '"result":"0xabc"}' },
      deps: { submitted: () => new Promise((resolve) => (mine = resolve)), onAccepted: (hash) => accepted.push(hash) },
    })
    let answered = false
    const answer = ask(call('eth_sendRawTransaction', ['0x'])).then((value) => {
      answered = true
      return value
    })
    await new Promise((resolve) => setImmediate(resolve))
    expect([accepted, answered]).toEqual([['0xabc'], false])
    mine('mined')
    expect(await answer).toMatchObject({ result: '0xabc' })
  })

  test('a transaction that the pool refuses is answered with the reason at once', async () => {
    const tail = '"error":{"code":-32003,"message":"nonce too low"}}'
    const { ask } = proxyWith({
      tails: { eth_sendRawTransaction: tail },
      deps: { submitted: () => new Promise(() => undefined) },
    })
    expect(await ask(call('eth_sendRawTransaction', ['0x']))).toMatchObject({ error: { message: 'nonce too low' } })
  })

  test('a transaction that was dropped is an error with its hash; one that waits is not', async () => {
    const tails = { eth_sendRawTransaction: '"result":"0xabc"}' }
    const dropped = proxyWith({ tails, deps: { submitted: async () => 'dropped' } })
    expect(await dropped.ask(call('eth_sendRawTransaction', ['0x']))).toMatchObject({
      // The SDK knows by these words that it is a nonce race.
      error: { code: -32000, message: expect.stringMatching(/dropped.*nonce was used/), data: '0xabc' },
    })
    for (const fate of ['waiting', 'late'] as const) {
      const { ask } = proxyWith({ tails, deps: { submitted: async () => fate } })
      expect(await ask(call('eth_sendRawTransaction', ['0x']))).toMatchObject({ result: '0xabc' })
    }
  })

  test('an engine that is away is told as "ask again", and nothing of an unknown error leaves', async () => {
    const away = proxyWith({
      deps: { upstream: () => Promise.reject(fail('CHAIN_UNAVAILABLE', { reason: 'the engine is starting' })) },
    })
    expect(await away.ask(call('eth_chainId'))).toMatchObject({
      id: 1,
      error: { code: -32005, message: expect.stringContaining('starting') },
    })
    const broken = proxyWith({ deps: { upstream: () => Promise.reject(new Error('/home/me/secret')) } })
    expect(await broken.ask(call('eth_chainId'))).toMatchObject({ error: { code: -32603, message: 'internal error' } })
  })

  test('answers of one array that are too large together are refused beyond the bound', async () => {
    const { ask } = proxyWith({ tails: { eth_getLogs: `"result":"${'x'.repeat(12 * 1024 ** 2)}"}` } })
    const answers = (await ask(Array.from({ length: 4 }, (_, id) => call('eth_getLogs', [{}], id)))) as {
      result?: string
      error?: { message: string }
    }[]
    expect(answers.filter(({ result }) => result !== undefined)).toHaveLength(2)
    expect(answers.filter(({ error }) => error?.message.includes('too large'))).toHaveLength(2)
  })
})

describe('subscriptions', () => {
  test('need a transport that can push', async () => {
    const { ask } = proxyWith()
    expect(await ask(call('eth_subscribe', ['newHeads']))).toMatchObject({
      error: { code: -32601, message: expect.stringContaining('WebSocket') },
    })
  })

  test('are kept by the transport and never reach the engine', async () => {
    const { ask, asked } = proxyWith()
    const subscriber = { subscribe: () => ({ result: '0x1' }), unsubscribe: () => ({ refusal: 'no' }) }
    expect(await ask(call('eth_subscribe', ['newHeads']), { subscriber })).toMatchObject({ result: '0x1' })
    expect(await ask(call('eth_unsubscribe', ['0x1']), { subscriber })).toMatchObject({
      error: { code: -32602, message: 'no' },
    })
    expect(asked).toEqual([])
  })
})

test('a body holds the largest transaction with room to spare', () => {
  // A contract creation at the code limit of 24 KiB with its arguments, or 32 entries with 4 KiB of tags, in hex.
  expect(BODY_BYTES_MAX).toBeGreaterThan(4 * 2 * 32 * 4096)
})
