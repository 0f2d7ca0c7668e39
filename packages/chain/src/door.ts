import { concat, toHex, type Hex, type Logger, type Random } from '@weightless/core'
import { attachWebSockets, serveHttp, type Socket } from '@weightless/host'
import { createGate } from './gate.ts'
import { BODY_BYTES_MAX, type Caller, type Proxy } from './proxy.ts'
import { BLOCKS, type Log, matches, parseSubscription, type Subscription } from './subscriptions.ts'

/** One follower per role and open page, each with a few connections; a wallet may open dozens. */
const CONNECTION_COUNT_MAX = 1024
const SOCKET_COUNT_MAX = 256
/** A dapp subscribes to heads and to the logs of a few contracts. */
const SUBSCRIPTION_COUNT_MAX = 64
/** Requests of one socket in work; above it the socket is not read. */
const SOCKET_WORK_MAX = 128
/** What may wait for a follower that reads slowly: thousands of blocks with their logs. */
const SOCKET_BUFFER_BYTES_MAX: number = 32 * 1024 ** 2

/** Logs of one block that are told with it: 150 submissions with full tags. Followers ask for more than that, page by page. */
const BLOCK_LOGS_CHARS_MAX: number = 256 * 1024

/** Above this a body is a contract creation or a batch. All of those that lie in memory at once are 64 MiB, however many
 *  clients send them and however slowly. */
const LARGE_BODY_BYTES: number = 64 * 1024
const LARGE_BODY_COUNT_MAX = 32
/** A body of this port is a burst of a few packets; who pauses for longer makes room for the next. */
const BODY_IDLE_MS_MAX = 5_000

/** The public port: HTTP and WebSocket in front of a proxy, and the push of new blocks. Throws `PORT_TAKEN`. */
export async function openDoor(options: DoorOptions, deps: DoorDeps): Promise<Door> {
  const { proxy, random } = deps
  const listeners = new Map<Socket, Map<string, Subscription>>()
  const large = createGate(LARGE_BODY_COUNT_MAX)

  async function handle(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url)
    if (request.method === 'OPTIONS') return new Response(null, { status: 204, headers: CORS })
    if (request.method === 'GET' && pathname === '/health') {
      const ready = deps.isReady()
      return json(JSON.stringify({ ready }), ready ? 200 : 503)
    }
    if (request.method !== 'POST') return refusal(405, 'send JSON-RPC by POST, or open a WebSocket')
    const sizeBytes = Number(request.headers.get('content-length') ?? BODY_BYTES_MAX)
    if (sizeBytes > BODY_BYTES_MAX) return refusal(413, TOO_LARGE)
    if (sizeBytes <= LARGE_BODY_BYTES) return await answerBody(request)
    return await large(() => answerBody(request), { signal: request.signal })
  }

  async function answerBody(request: Request): Promise<Response> {
    const body = await readBody(request)
    if (body === undefined) return refusal(413, TOO_LARGE)
    const answer = await proxy.answer(body, { signal: request.signal })
    return answer === undefined ? new Response(null, { status: 204, headers: CORS }) : json(answer, 200)
  }

  function onSocket(socket: Socket): { onText(text: string): void; onClose(): void } {
    const gone = new AbortController()
    const subscriptions = new Map<string, Subscription>()
    let workCount = 0
    const caller: Caller = {
      signal: gone.signal,
      subscriber: {
        subscribe(params) {
          const subscription = parseSubscription(params)
          if (subscription === undefined)
            return { refusal: 'subscribe to "newHeads", "newPendingTransactions" or "logs" with a filter' }
          if (subscriptions.size >= SUBSCRIPTION_COUNT_MAX)
            return { refusal: `a connection has at most ${SUBSCRIPTION_COUNT_MAX} subscriptions` }
          const id = toHex(random.bytes(16))
          subscriptions.set(id, subscription)
          listeners.set(socket, subscriptions)
          return { result: id }
        },
        unsubscribe([id]) {
          const result = typeof id === 'string' && subscriptions.delete(id)
          if (subscriptions.size === 0) listeners.delete(socket)
          return { result }
        },
      },
    }
    async function answerText(text: string): Promise<void> {
      try {
        const answer = await proxy.answer(text, caller)
        if (answer !== undefined) socket.send(answer)
      } catch (error) {
        deps.logger?.error('door.answerFailed', { error })
      } finally {
        if (--workCount === SOCKET_WORK_MAX - 1) socket.resume()
      }
    }
    return {
      onText(text) {
        if (++workCount >= SOCKET_WORK_MAX) socket.pause()
        void answerText(text)
      },
      onClose() {
        listeners.delete(socket)
        gone.abort()
      },
    }
  }

  function push(kind: Subscription['kind'], resultOf: (subscription: Subscription) => readonly string[]): void {
    for (const [socket, subscriptions] of listeners) {
      for (const [id, subscription] of subscriptions) {
        if (subscription.kind !== kind) continue
        for (const result of resultOf(subscription)) {
          socket.send(
            `{"jsonrpc":"2.0","method":"eth_subscription","params":{"subscription":"${id}","result":${result}}}`,
          )
        }
      }
    }
  }

  const http = await serveHttp({
    host: options.host,
    port: options.port,
    handler: handle,
    limits: { connectionCountMax: CONNECTION_COUNT_MAX, bodyIdleMsMax: BODY_IDLE_MS_MAX },
    logger: deps.logger,
  })
  const sockets = attachWebSockets({
    server: http.server,
    limits: {
      connectionCountMax: SOCKET_COUNT_MAX,
      messageBytesMax: BODY_BYTES_MAX,
      bufferedBytesMax: SOCKET_BUFFER_BYTES_MAX,
    },
    onSocket,
  })

  return {
    port: http.port,
    url: http.url,
    get listensToLogs() {
      for (const subscriptions of listeners.values())
        for (const { kind } of subscriptions.values()) if (kind === 'logs' || kind === BLOCKS) return true
      return false
    },
    pushHead(header) {
      if (listeners.size === 0) return
      const text = JSON.stringify(header)
      push('newHeads', () => [text])
    },
    pushLogs(header, logs) {
      push('logs', (subscription) => (logs === undefined ? [] : matching(subscription, logs)))
      const { number, hash, parentHash, timestamp } = header
      push(BLOCKS, (subscription) => {
        const block = JSON.stringify({ number, hash, parentHash, timestamp })
        const told = logs === undefined ? undefined : `[${matching(subscription, logs).join(',')}]`
        return [
          told === undefined || told.length > BLOCK_LOGS_CHARS_MAX ? block : `${block.slice(0, -1)},"logs":${told}}`,
        ]
      })
    },
    pushAccepted(hash) {
      push('newPendingTransactions', () => [`"${hash}"`])
    },
    async close() {
      listeners.clear()
      await sockets.close()
      await http.close()
    },
  }
}

export type DoorOptions = { readonly host: string; readonly port: number }
export type DoorDeps = {
  readonly proxy: Proxy
  readonly random: Random
  readonly isReady: () => boolean
  readonly logger?: Logger | undefined
}
export type Door = {
  readonly port: number
  readonly url: string
  /** Whether anybody wants logs: otherwise nobody fetches them. */
  readonly listensToLogs: boolean
  /** A block header as the engine gives it, without its transactions. */
  pushHead(header: BlockHeader): void
  /** All logs of a block; `undefined` when the engine did not give them: followers of blocks then ask for them. Called for
   *  each block and in their order, also when a block has none. */
  pushLogs(header: BlockHeader, logs: readonly Log[] | undefined): void
  pushAccepted(hash: Hex): void
  close(): Promise<void>
}

export type BlockHeader = { readonly [name: string]: unknown }

function matching(subscription: Subscription, logs: readonly Log[]): readonly string[] {
  if (subscription.kind !== 'logs' && subscription.kind !== BLOCKS) return []
  return logs.filter((log) => matches(subscription.filter, log)).map((log) => JSON.stringify(log))
}

/** Any page may talk to the chain, like to any public RPC: what it could harm is not behind this port. */
const CORS = {
  'access-control-allow-origin': '*',
  'access-control-allow-methods': 'POST, GET, OPTIONS',
  'access-control-allow-headers': '*',
  'access-control-max-age': '86400',
}

function json(text: string, status: number): Response {
  return new Response(text, { status, headers: { ...CORS, 'content-type': 'application/json' } })
}

const TOO_LARGE = `a body has at most ${BODY_BYTES_MAX} bytes: send less at once`

/** A JSON-RPC error, because a client that sent a body of any kind expects one (spec/storage.md 11.1, 5: never anything but JSON). */
function refusal(status: number, message: string): Response {
  return json(JSON.stringify({ jsonrpc: '2.0', error: { code: -32600, message }, id: null }), status)
}

/** `undefined` when it is larger than allowed; then the rest is not read. */
async function readBody(request: Request): Promise<Uint8Array | undefined> {
  const declared = request.headers.get('content-length')
  if (declared !== null)
    return Number(declared) > BODY_BYTES_MAX ? undefined : new Uint8Array(await request.arrayBuffer())
  if (request.body === null) return new Uint8Array(0)
  const parts: Uint8Array[] = []
  let sizeBytes = 0
  for await (const part of request.body) {
    sizeBytes += part.length
    if (sizeBytes > BODY_BYTES_MAX) return undefined
    parts.push(part)
  }
  return concat(parts)
}
