import type { Abortable, Clock, Hex, Logger, Net, Random } from '@weightless/core'
import { preview } from '@weightless/core'
import { fail } from './errors.ts'
import { systemNet } from './net.ts'
import { connectWebSocket } from './websocket.ts'

/** The newest block of a chain, each time it changes: pushed by `eth_subscribe`, asked for by polling while there is no push.
 *  Reconnects with back-off and jitter. Heads that a slow consumer missed are left out: it always gets the newest, with the
 *  logs of all that it missed where the endpoint pushes them. Ends when `signal` aborts, and never before. */
export async function* headFeed(
  options: HeadFeedOptions,
  deps: HeadFeedDeps,
  { signal }: Abortable = {},
): AsyncGenerator<Head, void, undefined> {
  const scope = new AbortController()
  const onAbort = (): void => scope.abort()
  signal?.addEventListener('abort', onAbort, { once: true })
  if (signal?.aborted) scope.abort()

  let newest: Head | undefined
  let given: Head | undefined
  let wake: () => void = () => undefined
  const offer = (head: Head): void => {
    newest = newest === undefined || newest.hash === given?.hash ? head : withMissed(newest, head)
    wake()
  }
  scope.signal.addEventListener('abort', () => wake(), { once: true })
  const state: FeedState = {
    isPushed: false,
    pushCount: 0,
    offer,
    newest: () => newest,
    reconnect: () => undefined,
    signal: scope.signal,
  }
  const producers = [
    poll(options, deps, state),
    ...(options.wsUrl === undefined ? [] : [subscribe({ url: options.wsUrl, logs: options.logs }, deps, state)]),
  ]
  try {
    while (!scope.signal.aborted) {
      if (newest !== undefined && newest.hash !== given?.hash) {
        given = newest
        yield given
      } else {
        await new Promise<void>((resolve) => (wake = resolve))
      }
    }
  } finally {
    signal?.removeEventListener('abort', onAbort)
    scope.abort()
    await Promise.all(producers)
  }
}

export type Head = {
  readonly number: number
  readonly hash: Hex
  /** Unix seconds; `undefined` from an endpoint that does not say. */
  readonly timeS?: number | undefined
  /** The wanted logs of all blocks from `from` up to this one, when the endpoint told them; the block before has this hash. */
  readonly told?: { readonly from: number; readonly parentHash: Hex; readonly logs: readonly unknown[] } | undefined
}
export type LogFilter = { readonly addresses: readonly string[]; readonly topics: readonly string[] }
export type HeadFeedOptions = {
  /** Logs wanted with the heads, from endpoints that can tell them (`weightless_blocks`, docs/wire.md). */
  readonly logs?: LogFilter | undefined
  /** Without it there is polling only. */
  readonly wsUrl?: string | undefined
  readonly rpcUrl: string
  /** Default 1000. */
  readonly pollMs?: number | undefined
}
export type HeadFeedDeps = {
  readonly clock: Clock
  readonly random: Random
  readonly net?: Net | undefined
  readonly logger?: Logger | undefined
}

/** A block of the embedded chain follows a transaction at once; without push a second is what a user may wait. */
const POLL_MS = 1_000
/** While heads are pushed, how often we make sure that the connection is not silently dead. */
const CHECK_MS = 15_000
const PUSH_GRACE_MS = 2_000
const POLL_TIMEOUT_MS = 10_000
const RECONNECT_MS_MIN = 200
const RECONNECT_MS_MAX = 10_000
const ANSWER_BYTES_MAX: number = 1024 ** 2
/** Logs held for a consumer that is busy; above it the consumer asks for them itself. */
const TOLD_LOGS_MAX = 1024

/** A head that carries the logs of one that nobody took yet as well, if it is its child. */
function withMissed(missed: Head, head: Head): Head {
  if (missed.told === undefined || head.told?.parentHash !== missed.hash) return head
  const logs = [...missed.told.logs, ...head.told.logs]
  if (logs.length > TOLD_LOGS_MAX) return { ...head, told: undefined }
  return { ...head, told: { ...missed.told, logs } }
}

type FeedState = {
  /** True between the confirmation of a subscription and the end of its connection. */
  isPushed: boolean
  pushCount: number
  readonly offer: (head: Head) => void
  readonly newest: () => Head | undefined
  reconnect: () => void
  readonly signal: AbortSignal
}

async function poll(options: HeadFeedOptions, deps: HeadFeedDeps, state: FeedState): Promise<void> {
  const { signal } = state
  let failures = 0
  while (!signal.aborted) {
    const seen = state.newest()
    try {
      const head = await askHead(options.rpcUrl, deps, { signal })
      failures = 0
      // What was pushed while we asked is newer than the answer.
      if (state.newest() === seen && head.hash !== seen?.hash) {
        state.offer(head)
        if (state.isPushed) await expectPush(head, deps, state)
      }
    } catch (error) {
      if (signal.aborted) return
      failures += 1
      if (failures === 1) deps.logger?.warn('headFeed.pollFailed', { error })
    }
    await rest(state.isPushed ? CHECK_MS : (options.pollMs ?? POLL_MS), deps, signal)
  }
}

/** A head that polling found first is pushed a moment later, unless the connection is dead and nobody has said so. */
async function expectPush(head: Head, deps: HeadFeedDeps, state: FeedState): Promise<void> {
  const { pushCount } = state
  await rest(PUSH_GRACE_MS, deps, state.signal)
  if (state.signal.aborted || !state.isPushed || state.pushCount !== pushCount) return
  deps.logger?.warn('headFeed.pushSilent', { number: head.number })
  state.reconnect()
}

type PushOptions = { readonly url: string; readonly logs: LogFilter | undefined }

async function subscribe(options: PushOptions, deps: HeadFeedDeps, state: FeedState): Promise<void> {
  const { signal } = state
  let delayMs = RECONNECT_MS_MIN
  while (!signal.aborted) {
    const wasPushed = await subscribeOnce(options, deps, state)
    state.isPushed = false
    if (wasPushed) delayMs = RECONNECT_MS_MIN
    const [chance] = deps.random.bytes(1)
    await rest(delayMs * (0.5 + chance! / 255), deps, signal)
    delayMs = Math.min(2 * delayMs, RECONNECT_MS_MAX)
  }
}

/** Resolves when the connection has ended: whether it ever pushed. */
async function subscribeOnce(options: PushOptions, deps: HeadFeedDeps, state: FeedState): Promise<boolean> {
  const { url, logs } = options
  let wasPushed = false
  let ended: () => void = () => undefined
  const end = new Promise<void>((resolve) => (ended = resolve))
  try {
    const socket = await connectWebSocket(
      { url, limits: { messageBytesMax: ANSWER_BYTES_MAX } },
      () => ({
        onText: (text) => {
          const message = parseMessage(text)
          if (message === 'subscribed') state.isPushed = wasPushed = true
          else if (message === 'noBlocks') subscribeTo(['newHeads'], HEADS_ID)
          else if (message === 'refused') ended()
          else if (message !== undefined) {
            state.pushCount += 1
            state.offer(message)
          }
        },
        onClose: () => ended(),
      }),
      { signal: state.signal },
    )
    state.reconnect = ended
    const onAbort = (): void => ended()
    state.signal.addEventListener('abort', onAbort, { once: true })
    const subscribeTo = (params: readonly unknown[], id: number): void =>
      socket.send(JSON.stringify({ jsonrpc: '2.0', id, method: 'eth_subscribe', params }))
    if (logs === undefined) subscribeTo(['newHeads'], HEADS_ID)
    else subscribeTo(['weightless_blocks', { address: logs.addresses, topics: [logs.topics] }], BLOCKS_ID)
    await end
    state.signal.removeEventListener('abort', onAbort)
    state.reconnect = () => undefined
    socket.close()
  } catch (error) {
    if (!state.signal.aborted) deps.logger?.debug('headFeed.connectFailed', { error })
  }
  return wasPushed
}

const HEADS_ID = 1
const BLOCKS_ID = 2

function parseMessage(text: string): Head | 'subscribed' | 'noBlocks' | 'refused' | undefined {
  try {
    const message = JSON.parse(text) as {
      id?: unknown
      result?: unknown
      error?: unknown
      method?: unknown
      params?: { result?: unknown }
    }
    if (message.id === HEADS_ID || message.id === BLOCKS_ID) {
      if (message.error === undefined && typeof message.result === 'string') return 'subscribed'
      return message.id === BLOCKS_ID ? 'noBlocks' : 'refused'
    }
    return message.method === 'eth_subscription' ? parseHead(message.params?.result) : undefined
  } catch {
    return undefined
  }
}

async function askHead(url: string, deps: HeadFeedDeps, options: { readonly signal: AbortSignal }): Promise<Head> {
  const signal = AbortSignal.any([options.signal, deps.clock.deadline(POLL_TIMEOUT_MS)])
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'eth_getBlockByNumber', params: ['latest', false] })
  const request = new Request(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body, signal })
  const response = await (deps.net ?? systemNet).fetch(request)
  const text = await readText(response)
  const head = parseHead(resultOf(text))
  if (head === undefined) throw fail('HEAD_FEED_ANSWER_INVALID', { status: response.status, answer: preview(text) })
  return head
}

/** A proxy in front of an endpoint that is away answers with a page. */
function resultOf(text: string): unknown {
  try {
    return (JSON.parse(text) as { result?: unknown } | null)?.result
  } catch {
    return undefined
  }
}

async function readText(response: Response): Promise<string> {
  let text = ''
  const decoder = new TextDecoder()
  // Blocks with thousands of transaction hashes stay below this; an endless answer does not.
  let sizeBytes = 0
  if (response.body === null) return text
  for await (const chunk of response.body) {
    sizeBytes += chunk.length
    if (sizeBytes > ANSWER_BYTES_MAX) throw fail('HEAD_FEED_ANSWER_INVALID', { sizeBytesMax: ANSWER_BYTES_MAX })
    text += decoder.decode(chunk, { stream: true })
  }
  return text
}

function parseHead(value: unknown): Head | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const { number, hash, parentHash, timestamp, logs } = value as { readonly [name: string]: unknown }
  if (!isQuantity(number) || !isHash(hash)) return undefined
  const timeS = isQuantity(timestamp) ? { timeS: Number(timestamp) } : {}
  const head = { number: Number(number), hash: hash.toLowerCase() as Hex, ...timeS }
  if (!Array.isArray(logs) || !isHash(parentHash)) return head
  return { ...head, told: { from: head.number, parentHash: parentHash.toLowerCase() as Hex, logs } }
}

function isQuantity(value: unknown): value is string {
  return typeof value === 'string' && /^0x[0-9a-fA-F]{1,13}$/.test(value)
}

function isHash(value: unknown): value is string {
  return typeof value === 'string' && /^0x[0-9a-fA-F]{64}$/.test(value)
}

async function rest(ms: number, deps: HeadFeedDeps, signal: AbortSignal): Promise<void> {
  await deps.clock.sleep(ms, { signal }).catch(() => undefined)
}
