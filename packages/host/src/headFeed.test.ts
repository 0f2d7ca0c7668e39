import { afterEach, describe, expect, test } from 'vitest'
import type { Clock } from '@weightless/core'
import { systemClock } from './clock.ts'
import { headFeed, type Head } from './headFeed.ts'
import { serveHttp, type HttpServer } from './http.ts'
import { freePorts } from './ports.ts'
import { systemRandom } from './random.ts'
import { attachWebSockets, type Socket, type WebSockets } from './websocket.ts'

const closing: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close()
})

/** A chain that answers for its head, and pushes it to who subscribed. */
class FakeChain {
  number = 0
  readonly sockets = new Set<Socket>()
  pollCount = 0
  subscribeCount = 0
  isPushing = true
  /** Whether it knows the subscription that tells logs with blocks. */
  tellsLogs = false
  readonly subscribed: unknown[][] = []
  answer: (() => Response) | undefined
  #http: HttpServer | undefined
  #ws: WebSockets | undefined

  async start(port = 0): Promise<void> {
    const http = await serveHttp({
      port,
      limits: { closeMsMax: 50 },
      handler: async (request) => {
        const { method } = (await request.json()) as { method: string }
        expect(method).toBe('eth_getBlockByNumber')
        this.pollCount += 1
        return this.answer?.() ?? Response.json({ jsonrpc: '2.0', id: 1, result: this.block() })
      },
    })
    const ws = attachWebSockets({
      server: http.server,
      onSocket: (socket) => ({
        onText: (text) => {
          const { id, method, params } = JSON.parse(text) as { id: number; method: string; params: unknown[] }
          expect(method).toBe('eth_subscribe')
          this.subscribed.push(params)
          if (params[0] !== 'newHeads' && !this.tellsLogs) {
            socket.send(JSON.stringify({ jsonrpc: '2.0', id, error: { code: -32602, message: 'unknown' } }))
            return
          }
          this.subscribeCount += 1
          this.sockets.add(socket)
          socket.send(JSON.stringify({ jsonrpc: '2.0', id, result: '0x1' }))
        },
        onClose: () => this.sockets.delete(socket),
      }),
    })
    this.#http = http
    this.#ws = ws
    closing.push(() => this.stop())
  }
  async stop(): Promise<void> {
    await this.#ws?.close()
    await this.#http?.close()
    this.sockets.clear()
  }
  get port(): number {
    return this.#http!.port
  }
  /** Told with its blocks, if at all. */
  timestamp: string | undefined
  block(): { number: string; hash: string; timestamp?: string } {
    const { number, timestamp } = this
    return { number: `0x${number.toString(16)}`, hash: hashOf(number), ...(timestamp && { timestamp }) }
  }
  mine(number = this.number + 1, told: { readonly logs?: readonly string[]; readonly parentHash?: string } = {}): void {
    this.number = number
    if (!this.isPushing) return
    const parentHash = hashOf(number - 1)
    const message = JSON.stringify({
      jsonrpc: '2.0',
      method: 'eth_subscription',
      params: {
        subscription: '0x1',
        result: { ...this.block(), ...(this.tellsLogs ? { parentHash, logs: [`log ${number}`] } : {}), ...told },
      },
    })
    for (const socket of this.sockets) socket.send(message)
  }
}

function hashOf(number: number): string {
  return `0x${number.toString(16).padStart(64, '0')}`
}

/** Sleeps are turns of the event loop, counted: polling and back-off happen without waiting. */
function quickClock(): Clock & { readonly sleeps: number[] } {
  const sleeps: number[] = []
  return {
    sleeps,
    nowMs: () => 0,
    sleep: (ms, { signal }) => {
      sleeps.push(ms)
      return systemClock.sleep(1, { signal })
    },
    deadline: (ms) => systemClock.deadline(ms),
  }
}

const stops: AbortController[] = []
afterEach(() => stops.splice(0).forEach((stop) => stop.abort()))

function follow(
  chain: FakeChain,
  options: { readonly ws?: boolean; readonly clock?: Clock; readonly logs?: boolean } = {},
): AsyncGenerator<Head, void, undefined> {
  const stop = new AbortController()
  stops.push(stop)
  const at = `127.0.0.1:${chain.port}`
  return headFeed(
    {
      rpcUrl: `http://${at}`,
      ...(options.ws === false ? {} : { wsUrl: `ws://${at}` }),
      ...(options.logs === true ? { logs: { addresses: ['0xa', '0xb'], topics: ['0xc'] } } : {}),
      pollMs: 5,
    },
    { clock: options.clock ?? systemClock, random: systemRandom },
    { signal: stop.signal },
  )
}

async function nextNumber(feed: AsyncGenerator<Head, void, undefined>, number: number): Promise<void> {
  for await (const head of { [Symbol.asyncIterator]: () => ({ next: () => feed.next() }) }) {
    expect(head.hash).toBe(hashOf(head.number))
    if (head.number === number) return
  }
  expect.unreachable('the feed ended')
}

async function feedUntil(feed: AsyncGenerator<Head, void, undefined>, number: number): Promise<Head[]> {
  const heads: Head[] = []
  while (heads.at(-1)?.number !== number) heads.push((await feed.next()).value as Head)
  return heads
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2))
}

describe('a feed of heads', () => {
  test('gives the head at once and each new one as it is pushed, without polling for it', async () => {
    const chain = new FakeChain()
    await chain.start()
    const feed = follow(chain)
    await nextNumber(feed, 0)
    await until(() => chain.subscribeCount === 1)
    const { pollCount } = chain
    for (let number = 1; number <= 20; number++) {
      chain.mine()
      await nextNumber(feed, number)
    }
    // One poll may have been under way when the subscription came.
    expect(chain.pollCount - pollCount).toBeLessThanOrEqual(1)
    await feed.return()
  })

  test('gives the logs that the endpoint tells with its blocks, those of missed blocks too', async () => {
    const chain = new FakeChain()
    chain.tellsLogs = true
    await chain.start()
    const feed = follow(chain, { logs: true })
    await nextNumber(feed, 0)
    await until(() => chain.subscribeCount === 1)
    expect(chain.subscribed).toEqual([['weightless_blocks', { address: ['0xa', '0xb'], topics: [['0xc']] }]])
    chain.mine()
    expect((await feed.next()).value).toEqual({
      number: 1,
      hash: hashOf(1),
      told: { from: 1, parentHash: hashOf(0), logs: ['log 1'] },
    })
    for (let i = 0; i < 3; i++) chain.mine()
    const missed = await feedUntil(feed, 4)
    expect(missed.at(-1)).toMatchObject({ number: 4, told: { logs: expect.arrayContaining(['log 4']) } })
    expect(missed.flatMap((head) => head.told!.logs)).toEqual(['log 2', 'log 3', 'log 4'])
    await feed.return()
  })

  test('gives the time of a block, pushed or polled, and none where the endpoint tells nonsense', async () => {
    const chain = new FakeChain()
    chain.timestamp = '0x64'
    await chain.start()
    const feed = follow(chain)
    expect((await feed.next()).value).toEqual({ number: 0, hash: hashOf(0), timeS: 100 })
    await until(() => chain.subscribeCount === 1)
    chain.timestamp = '0x65'
    chain.mine()
    expect((await feed.next()).value).toEqual({ number: 1, hash: hashOf(1), timeS: 101 })
    chain.timestamp = 'soon'
    chain.mine()
    expect((await feed.next()).value).toEqual({ number: 2, hash: hashOf(2) })
    await feed.return()
  })

  test('tells no logs across a block that is not the child of the one before it', async () => {
    const chain = new FakeChain()
    chain.tellsLogs = true
    await chain.start()
    const feed = follow(chain, { logs: true })
    await nextNumber(feed, 0)
    await until(() => chain.subscribeCount === 1)
    chain.mine(1)
    chain.mine(2, { parentHash: hashOf(99) })
    const heads = await feedUntil(feed, 2)
    expect(heads.at(-1)!.told).toEqual({ from: 2, parentHash: hashOf(99), logs: ['log 2'] })
    await feed.return()
  })

  test('takes plain heads from an endpoint that does not tell logs', async () => {
    const chain = new FakeChain()
    await chain.start()
    const feed = follow(chain, { logs: true })
    await nextNumber(feed, 0)
    await until(() => chain.subscribeCount === 1)
    expect(chain.subscribed.map(([kind]) => kind)).toEqual(['weightless_blocks', 'newHeads'])
    chain.mine()
    expect((await feed.next()).value).toEqual({ number: 1, hash: hashOf(1) })
    await feed.return()
  })

  test('polls where there is no push', async () => {
    const chain = new FakeChain()
    await chain.start()
    const feed = follow(chain, { ws: false })
    for (let number = 0; number <= 3; number++) {
      await nextNumber(feed, number)
      chain.mine()
    }
    expect(chain.subscribeCount).toBe(0)
    await feed.return()
  })

  test('gives a slow consumer only the newest, and none twice', async () => {
    const chain = new FakeChain()
    await chain.start()
    const feed = follow(chain)
    await nextNumber(feed, 0)
    await until(() => chain.subscribeCount === 1)
    for (let i = 0; i < 50; i++) chain.mine()
    await nextNumber(feed, 50)
    const next = feed.next()
    chain.mine(50)
    chain.mine(51)
    expect((await next).value).toMatchObject({ number: 51 })
    await feed.return()
  })

  test('gives a head that went back: another block of a lower number is news', async () => {
    const chain = new FakeChain()
    await chain.start()
    const feed = follow(chain)
    await nextNumber(feed, 0)
    await until(() => chain.subscribeCount === 1)
    chain.mine(10)
    await nextNumber(feed, 10)
    chain.mine(7)
    await nextNumber(feed, 7)
    await feed.return()
  })

  test('survives the chain: it reconnects with growing pauses, and misses no head for it', async () => {
    const [port] = await freePorts(1)
    const chain = new FakeChain()
    await chain.start(port)
    const clock = quickClock()
    const feed = follow(chain, { clock })
    await nextNumber(feed, 0)
    await until(() => chain.subscribeCount === 1)
    await chain.stop()
    chain.number = 5
    await until(() => clock.sleeps.some((ms) => ms > 1000))
    await chain.start(port)
    await nextNumber(feed, 5)
    await until(() => chain.subscribeCount === 2)
    chain.mine()
    await nextNumber(feed, 6)
    expect(Math.max(...clock.sleeps)).toBeLessThanOrEqual(15_000)
    await feed.return()
  })

  test('notices a connection that is open and silent', async () => {
    const chain = new FakeChain()
    await chain.start()
    const feed = follow(chain, { clock: quickClock() })
    await nextNumber(feed, 0)
    await until(() => chain.subscribeCount === 1)
    chain.isPushing = false
    chain.mine()
    await nextNumber(feed, 1)
    await until(() => chain.subscribeCount === 2)
    await feed.return()
  })

  test.each([
    ['an error', () => Response.json({ jsonrpc: '2.0', id: 1, error: { code: -32000, message: 'no' } })],
    ['no JSON', () => new Response('<html>')],
    ['null', () => Response.json({ result: null })],
    ['a number that is none', () => Response.json({ result: { number: '12', hash: hashOf(1) } })],
    [
      'an endless body',
      () => new Response(new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(65_536)) })),
    ],
  ])('goes on after %s', async (_, answer) => {
    const chain = new FakeChain()
    chain.answer = answer
    await chain.start()
    const feed = follow(chain, { ws: false })
    const first = feed.next()
    await until(() => chain.pollCount >= 2)
    chain.answer = undefined
    expect((await first).value).toMatchObject({ number: 0 })
    await feed.return()
  })

  test('ends when its signal aborts, while it waits too, and nothing of it stays', async () => {
    const chain = new FakeChain()
    await chain.start()
    const feed = follow(chain)
    await nextNumber(feed, 0)
    await until(() => chain.sockets.size === 1)
    const waiting = feed.next()
    stops.at(-1)!.abort(new Error('enough'))
    expect(await waiting).toEqual({ done: true, value: undefined })
    await until(() => chain.sockets.size === 0)
    const never = headFeed(
      { rpcUrl: 'http://127.0.0.1:1' },
      { clock: systemClock, random: systemRandom },
      { signal: AbortSignal.abort() },
    )
    expect((await never.next()).done).toBe(true)
  })
})
