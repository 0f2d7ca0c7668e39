import { preview, type Abortable, type Clock } from '@weightless/core'
import { connectWebSocket, type Socket } from '@weightless/host'
import { fail } from '../errors.ts'

/** The answer to a query over all logs of a large chain; a client that needs more asks for a smaller range. */
const ANSWER_BYTES_MAX: number = 256 * 1024 ** 2
/** The slowest honest call takes a tenth of a second (30M gas); a state of a gigabyte is dumped over HTTP, not here. */
const ANSWER_MS_MAX = 30_000
const DEADLINE_STEP_MS = 1000

/** Connections to one anvil. It leaves Nagle's algorithm on: of two answers on one connection the second waits for the delayed
 *  acknowledgement of the first, 40 ms. With one request on its way per connection there is never a second answer. */
const LANES = 8

/** WebSockets to a running anvil: a quarter of the latency of HTTP (0.13 against 0.55 ms). Requests take a free lane, or the one
 *  with the fewest on their way. A lane that is lost means that anvil is. */
export async function connectAnvil(
  options: { readonly url: string; readonly instance: string },
  deps: { readonly clock: Clock },
  { signal }: Abortable = {},
): Promise<AnvilRpc> {
  const opened = await Promise.allSettled(Array.from({ length: LANES }, () => connectLane(options, deps, { signal })))
  const lanes = opened.flatMap((lane) => (lane.status === 'fulfilled' ? [lane.value] : []))
  const close = (): void => {
    for (const lane of lanes) lane.close()
  }
  const failed = opened.find((lane) => lane.status === 'rejected')
  if (failed !== undefined) {
    close()
    throw failed.reason
  }
  const freest = (): Lane => lanes.reduce((best, lane) => (lane.pendingCount() < best.pendingCount() ? lane : best))
  const ask: AnvilRpc['ask'] = (method, params, abortable) => freest().ask(method, params, abortable)
  return {
    ask,
    request: async (method, params, abortable) => resultOf(method, await ask(method, params, abortable)),
    isOpen: () => lanes.every((lane) => lane.isOpen()),
    close,
  }
}

type Lane = Pick<AnvilRpc, 'ask' | 'isOpen' | 'close'> & { pendingCount(): number }

async function connectLane(
  options: { readonly url: string; readonly instance: string },
  deps: { readonly clock: Clock },
  { signal }: Abortable,
): Promise<Lane> {
  const pending = new Map<number, Pending>()
  let nextId = 1
  const lost = new AbortController()
  let isWatching = false
  const unavailable = (reason: string, cause?: unknown): Error => fail('CHAIN_UNAVAILABLE', { reason }, { cause })
  const socket: Socket = await connectWebSocket(
    { url: options.url, limits: { messageBytesMax: ANSWER_BYTES_MAX } },
    () => ({
      onText(text) {
        const answer = splitAnswer(text)
        if (answer !== undefined) pending.get(answer.id)?.resolve(answer.tail)
      },
      onClose() {
        lost.abort()
        for (const { reject } of pending.values()) reject(unavailable('the connection to the engine was lost'))
      },
    }),
    { signal },
  ).catch((cause: unknown) => {
    signal?.throwIfAborted()
    // Killed a moment ago, as a rule: whoever asks may ask the next one.
    throw unavailable('no connection to the engine', cause)
  })
  if (socket.responseHeaders['access-control-allow-origin'] !== options.instance) {
    socket.close()
    throw unavailable('another program answers on that port')
  }

  // One clock for all: a timer per request would keep thousands of them alive under load.
  async function watchDeadlines(): Promise<void> {
    while (!lost.signal.aborted && pending.size > 0) {
      await deps.clock.sleep(DEADLINE_STEP_MS, { signal: lost.signal }).catch(() => undefined)
      const nowMs = deps.clock.nowMs()
      for (const { deadlineMs, reject } of pending.values()) {
        if (deadlineMs <= nowMs) reject(unavailable('the engine gave no answer in time'))
      }
    }
    isWatching = false
  }

  function ask(method: string, params: readonly unknown[], { signal: given }: Abortable = {}): Promise<string> {
    const id = nextId++
    return new Promise<string>((resolve, reject) => {
      if (given?.aborted) return reject(given.reason)
      if (lost.signal.aborted) return reject(unavailable('the connection to the engine was lost'))
      const onAbort = (): void => settle(() => reject(given!.reason))
      const settle = (end: () => void): void => {
        pending.delete(id)
        given?.removeEventListener('abort', onAbort)
        end()
      }
      given?.addEventListener('abort', onAbort, { once: true })
      pending.set(id, {
        deadlineMs: deps.clock.nowMs() + ANSWER_MS_MAX,
        resolve: (tail) => settle(() => resolve(tail)),
        reject: (error) => settle(() => reject(error)),
      })
      if (!isWatching) {
        isWatching = true
        void watchDeadlines()
      }
      socket.send(JSON.stringify({ jsonrpc: '2.0', id, method, params }))
    })
  }

  return {
    ask,
    pendingCount: () => pending.size,
    isOpen: () => !lost.signal.aborted,
    close: () => socket.close(),
  }
}

export type AnvilRpc = {
  /** The answer's JSON text behind its id: `"result":…}` or `"error":{…}}`, exactly as the engine wrote it. */
  ask(method: string, params: readonly unknown[], options?: Abortable): Promise<string>
  /** The parsed result. Throws `CHAIN_CALL_FAILED` for an error that the engine states. */
  request(method: string, params: readonly unknown[], options?: Abortable): Promise<unknown>
  isOpen(): boolean
  close(): void
}

type Pending = { readonly deadlineMs: number; resolve(tail: string): void; reject(error: unknown): void }

/** The parsed result of an answer's tail. */
export function resultOf(method: string, tail: string): unknown {
  const answer = JSON.parse(`{${tail}`) as {
    readonly result?: unknown
    readonly error?: { readonly code?: unknown; readonly message?: unknown }
  }
  if (answer.error === undefined) return answer.result
  throw fail('CHAIN_CALL_FAILED', {
    method,
    rpcCode: Number(answer.error.code),
    message: preview(answer.error.message),
  })
}

const ANSWER_START = /^\{"jsonrpc":"2\.0","id":(\d{1,15}),/

/** Cuts the text and leaves the rest unparsed: large answers and revert data pass through as they are. */
function splitAnswer(text: string): { readonly id: number; readonly tail: string } | undefined {
  const start = ANSWER_START.exec(text)
  return start === null ? undefined : { id: Number(start[1]), tail: text.slice(start[0].length) }
}
