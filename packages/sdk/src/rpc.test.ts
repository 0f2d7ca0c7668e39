import type { Clock, Random } from '@weightless/core'
import { describe, expect, test } from 'vitest'
import { failureOf, reasonOf, turns } from '../../../sim/fakes/outcome.ts'
import { webClock } from './defaults.ts'
import { askTogether, createRpc, type RpcOptions } from './rpc.ts'

const random: Random = { bytes: (sizeBytes) => new Uint8Array(sizeBytes).fill(255) }

function endpoint(answers: readonly (() => Promise<Response> | Response)[], options: RpcOptions = {}) {
  const slept: number[] = []
  const asked: unknown[] = []
  const clock: Clock = {
    ...webClock,
    sleep: (ms, o) => (ms < 10_000 ? (slept.push(ms), Promise.resolve()) : webClock.sleep(ms, o)),
  }
  const net = {
    fetch: async (request: Request) => {
      const at = asked.push(undefined) - 1
      asked[at] = await request.json()
      return answers[Math.min(asked.length, answers.length) - 1]!()
    },
  }
  return {
    rpc: createRpc('https://rpc.example/v3/secret-key?token=abc', { net, clock, random }, options),
    slept,
    asked,
  }
}
const result = (value: unknown) => () => Response.json({ jsonrpc: '2.0', id: 1, result: value })

describe('a JSON-RPC endpoint', () => {
  test('is asked with method and params, and its result comes back unparsed', async () => {
    const { rpc, asked } = endpoint([result('0x7a69')])
    expect(await rpc.request('eth_chainId', ['x'])).toBe('0x7a69')
    expect(asked).toEqual([{ jsonrpc: '2.0', id: 1, method: 'eth_chainId', params: ['x'] }])
  })

  test('that has nothing says null, which is an answer', async () => {
    expect(await endpoint([result(null)]).rpc.request('eth_getTransactionReceipt', ['0x'])).toBeNull()
  })

  test.each([
    ['a broken connection', () => Promise.reject(new TypeError('fetch failed'))],
    ['429', () => new Response('slow down', { status: 429 })],
    [
      'a request that did not come whole',
      () => Response.json({ error: { code: 'REQUEST_TIMEOUT', message: 'Send the request again' } }, { status: 408 }),
    ],
    ['503 in HTML', () => new Response('<html>', { status: 503 })],
    ['a stated rate limit', () => Response.json({ id: 1, error: { code: -32005, message: 'limit exceeded' } })],
  ])('is asked again after %s, with growing pauses', async (_, answer) => {
    const { rpc, slept, asked } = endpoint([answer, answer, result(1)])
    expect(await rpc.request('m', [])).toBe(1)
    expect(slept).toEqual([100, 200])
    expect(asked).toHaveLength(3)
  })

  test('that stays away is unreachable after four tries, and the error names no key', async () => {
    const { rpc, asked } = endpoint([() => new Response('', { status: 502 })])
    const error = await failureOf(rpc.request('m', []))
    expect(error).toMatchObject({
      code: 'RPC_UNREACHABLE',
      retryable: true,
      facts: { url: 'https://rpc.example', status: 502 },
    })
    expect(error.message).not.toMatch(/secret|abc/)
    expect(asked).toHaveLength(4)
  })

  test('is not asked again after an error that it states, whatever the status', async () => {
    const { rpc, asked } = endpoint([
      () =>
        Response.json(
          { id: 1, error: { code: 3, message: 'execution reverted', data: '0xf85c6482' } },
          { status: 500 },
        ),
    ])
    expect(await failureOf(rpc.request('m', []))).toMatchObject({
      code: 'RPC_ERROR',
      retryable: false,
      facts: { method: 'm', rpcCode: 3, message: 'execution reverted', data: '0xf85c6482' },
    })
    expect(asked).toHaveLength(1)
  })

  test.each([
    ['nested as geth’s clients nest it', { data: '0xaabb' }, '0xaabb'],
    ['nested as another node nests it', { originalError: 1, result: '0xcc' }, '0xcc'],
    ['of half a byte', '0xabc', undefined],
    ['in words', 'Reverted', undefined],
    ['longer than any error of ours', `0x${'00'.repeat(5_000)}`, undefined],
  ])('carries revert data %s', async (_, data, expected) => {
    const { rpc } = endpoint([() => Response.json({ id: 1, error: { code: 3, message: 'm', data } })])
    expect((await failureOf(rpc.request('m', []))).facts['data']).toBe(expected)
  })

  test.each(['', 'hello', '[]', '7', '{}', '{"id":1}'])('that answers %j is no endpoint', async (body) => {
    const { rpc, asked } = endpoint([() => new Response(body)])
    expect(await failureOf(rpc.request('m', []))).toMatchObject({ code: 'RPC_ANSWER_INVALID' })
    expect(asked).toHaveLength(1)
  })

  test('cannot make us hold more than the limit', async () => {
    const { rpc } = endpoint([result('x'.repeat(5_000))], { bodyBytesMax: 4_096 })
    expect(await failureOf(rpc.request('m', []))).toMatchObject({ code: 'BODY_TOO_LARGE' })
  })

  test('that hangs is given up after its deadline, four times', async () => {
    const { rpc, asked } = endpoint([() => new Promise<Response>(() => undefined)], { timeoutMs: 10_000 - 1 })
    // The clock of this test lets short waits pass at once: a deadline of this length is over immediately.
    expect(await failureOf(rpc.request('eth_call', []))).toMatchObject({
      code: 'DEADLINE_PASSED',
      facts: { what: 'eth_call' },
    })
    expect(asked).toHaveLength(4)
  })

  test('is left alone once the signal aborts', async () => {
    const controller = new AbortController()
    const { rpc, asked } = endpoint([() => new Promise<Response>(() => undefined)], { timeoutMs: 60_000 })
    const caught = reasonOf(rpc.request('m', [], { signal: controller.signal }))
    await turns(2)
    controller.abort('stop')
    expect(await caught).toBe('stop')
    expect(asked).toHaveLength(1)
  })
})

describe('several questions in one body', () => {
  const calls = [
    ['a', [1]],
    ['b', []],
  ] as const
  const array =
    (...items: object[]) =>
    () =>
      Response.json(items)

  test('are one request, and each gets the answer with its id, in whatever order they come', async () => {
    const { rpc, asked } = endpoint([array({ id: 2, result: 'B' }, { id: 1, result: 'A' })])
    expect(await Promise.all(askTogether(rpc, calls))).toEqual(['A', 'B'])
    expect(asked).toEqual([
      [
        { jsonrpc: '2.0', id: 1, method: 'a', params: [1] },
        { jsonrpc: '2.0', id: 2, method: 'b', params: [] },
      ],
    ])
  })

  test('fail one by one', async () => {
    const { rpc } = endpoint([array({ id: 1, error: { code: 3, message: 'reverted' } }, { id: 2, result: 'B' })])
    const [a, b] = askTogether(rpc, calls)
    expect(await failureOf(a!)).toMatchObject({ code: 'RPC_ERROR', facts: { method: 'a', rpcCode: 3 } })
    expect(await b).toBe('B')
  })

  test.each([
    ['refuses arrays', () => Response.json({ id: null, error: { code: -32600, message: 'invalid request' } })],
    ['has another status for them', () => new Response('no', { status: 400 })],
  ])('are asked one by one where the endpoint %s, and no array is sent there again', async (_, refusal) => {
    const { rpc, asked } = endpoint([refusal, result('x')])
    expect(await Promise.all(askTogether(rpc, calls))).toEqual(['x', 'x'])
    expect(await Promise.all(askTogether(rpc, calls))).toEqual(['x', 'x'])
    expect(asked.map(Array.isArray)).toEqual([true, false, false, false, false])
  })

  test('one that is missing in the answer, or told to come again, is asked once more by itself', async () => {
    const again = endpoint([array({ id: 1, error: { code: -32005, message: 'limit' } }), result('x')])
    expect(await Promise.all(askTogether(again.rpc, calls))).toEqual(['x', 'x'])
    expect(again.asked.map(Array.isArray)).toEqual([true, false, false])
  })

  test('are asked again while nothing comes back', async () => {
    const { rpc, slept } = endpoint([
      () => new Response('', { status: 503 }),
      array({ id: 1, result: 'A' }, { id: 2, result: 'B' }),
    ])
    expect(await Promise.all(askTogether(rpc, calls))).toEqual(['A', 'B'])
    expect(slept).toEqual([100])
  })
})
