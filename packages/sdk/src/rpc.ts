import { isFailure, preview, type Abortable, type Clock, type Net, type Random } from '@weightless/core'
import { fail } from './errors.ts'
import { readBounded } from './readBounded.ts'
import { retry } from './retry.ts'
import { withDeadline } from './scope.ts'

/** One Ethereum JSON-RPC endpoint. */
export type Rpc = {
  readonly url: string
  /** The result, unparsed. Throws `RPC_ERROR` with the endpoint's `rpcCode`, `message` and `data`; `RPC_UNREACHABLE` after the
   *  last try; `RPC_ANSWER_INVALID`. */
  request(method: string, params: readonly unknown[], options?: Abortable): Promise<unknown>
  /** The same for several questions in one body, which the endpoint answers in this order or at once: see `askTogether`. */
  together?(calls: readonly RpcCall[], options?: Abortable): readonly Promise<unknown>[]
}
export type RpcCall = readonly [method: string, params: readonly unknown[]]
export type RpcDeps = { readonly net: Net; readonly clock: Clock; readonly random: Random }
export type RpcOptions = { readonly timeoutMs?: number; readonly attemptsMax?: number; readonly bodyBytesMax?: number }

/** A page of logs with their tags is the largest answer we ask for. */
const RPC_BODY_BYTES_MAX: number = 32 * 1024 ** 2
/** Public endpoints answer within a few seconds or not at all. */
const RPC_TIMEOUT_MS = 20_000
const RPC_ATTEMPTS_MAX = 4
const RPC_DELAY_MS_MIN = 100
const RPC_DELAY_MS_MAX = 3_000
/** Revert data is a selector and a few words; more is not carried in an error. */
const ERROR_DATA_CHARACTERS_MAX = 4_096

/** Asks over `deps.net`. Tries again only when nothing came back, or 429 or 5xx: an error that the endpoint states is final.
 *  Every method we use may be repeated: the same raw transaction is known by its hash. */
export function createRpc(url: string, deps: RpcDeps, options: RpcOptions = {}): Rpc {
  const { timeoutMs = RPC_TIMEOUT_MS, attemptsMax = RPC_ATTEMPTS_MAX, bodyBytesMax = RPC_BODY_BYTES_MAX } = options
  let nextId = 1
  let takesArrays = true

  /** What the endpoint said, parsed; tries again while nothing comes back. */
  function exchange<T>(
    method: string,
    question: unknown,
    read: (answer: Exchange) => T,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    const body = JSON.stringify(question)
    return retry(
      () =>
        withDeadline({ signal, timeoutMs, what: method }, deps, async (scope) =>
          read(await send({ url, method, body, bodyBytesMax }, deps, { signal: scope })),
        ),
      {
        attemptsMax,
        delayMsMin: RPC_DELAY_MS_MIN,
        delayMsMax: RPC_DELAY_MS_MAX,
        signal,
        retryable: (error) => isFailure(error, 'RPC_UNREACHABLE') || isFailure(error, 'DEADLINE_PASSED'),
      },
      deps,
    )
  }

  const request: Rpc['request'] = (method, params, { signal } = {}) =>
    exchange(
      method,
      { jsonrpc: '2.0', id: nextId++, method, params },
      (answer) => resultOf(answer, url, method),
      signal,
    )

  async function askArray(
    calls: readonly RpcCall[],
    { signal }: Abortable,
  ): Promise<ReadonlyMap<number, unknown> | undefined> {
    const firstId = nextId
    nextId += calls.length
    const question = calls.map(([method, params], i) => ({ jsonrpc: '2.0', id: firstId + i, method, params }))
    const methods = calls.map(([method]) => method).join(' + ')
    return exchange(methods, question, (answer) => itemsOf(answer, { url, methods, firstId }), signal)
  }

  return {
    url,
    request,
    together(calls, options = {}) {
      const asked = takesArrays ? askArray(calls, options) : Promise.resolve(undefined)
      return calls.map(async ([method, params], i) => {
        const items = await asked
        const item = items?.get(i)
        if (items === undefined) takesArrays = false
        else if (item !== undefined) {
          try {
            return resultOf({ value: item, status: 200, text: '' }, url, method)
          } catch (error) {
            // "Ask again", said about this one alone.
            if (!isFailure(error, 'RPC_UNREACHABLE')) throw error
          }
        }
        return request(method, params, options)
      })
    },
  }
}

/** Several questions in one body, where the endpoint takes arrays; each answer comes as from `request`. Nobody may rely on the
 *  order in which the endpoint deals with them. */
export function askTogether(rpc: Rpc, calls: readonly RpcCall[], options: Abortable = {}): readonly Promise<unknown>[] {
  return rpc.together?.(calls, options) ?? calls.map(([method, params]) => rpc.request(method, params, options))
}

type Question = { readonly url: string; readonly method: string; readonly body: string; readonly bodyBytesMax: number }
/** `value`: the body as JSON, `undefined` when it is none. */
type Exchange = {
  readonly value: unknown
  readonly status: number
  readonly text: string
  /** What a busy endpoint asks for. */
  readonly retryAfterMs?: number | undefined
}

async function send(
  question: Question,
  deps: { readonly net: Net },
  options: { readonly signal: AbortSignal },
): Promise<Exchange> {
  const { url, method } = question
  const { signal } = options
  let status: number
  let text: string
  let retryAfterMs: number | undefined
  try {
    const response = await deps.net.fetch(
      new Request(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: question.body,
        signal,
      }),
    )
    status = response.status
    retryAfterMs = parseRetryAfter(response.headers.get('retry-after'))
    text = new TextDecoder().decode(await readBounded(response, question.bodyBytesMax, { signal }))
  } catch (cause) {
    if (signal.aborted) throw signal.reason
    if (isFailure(cause)) throw cause
    throw fail('RPC_UNREACHABLE', { url: hostOf(url), method }, { cause })
  }
  return { value: parseJson(text), status, text, retryAfterMs }
}

/** The server gave up on a request that had not come whole, as a rule because its connection had been silent for long when it was
 *  sent: nothing was done, and it may be sent again (RFC 9110, 15.5.9). What stands in the body is not the engine's. */
const REQUEST_TIMEOUT = 408

/** The answers of an array by their place in it; `undefined` from an endpoint that takes none, whatever it says about them. */
function itemsOf(
  { value, status, retryAfterMs }: Exchange,
  asked: { readonly url: string; readonly methods: string; readonly firstId: number },
): ReadonlyMap<number, unknown> | undefined {
  if (Array.isArray(value)) {
    return new Map(
      value.map((item: unknown) => [Number((item as { readonly id?: unknown } | null)?.id) - asked.firstId, item]),
    )
  }
  if (status === REQUEST_TIMEOUT || (value === undefined && (status === 429 || status >= 500)))
    throw fail('RPC_UNREACHABLE', { url: hostOf(asked.url), method: asked.methods, status, retryAfterMs })
  return undefined
}

function resultOf({ value, status, text, retryAfterMs }: Exchange, url: string, method: string): unknown {
  if (status === REQUEST_TIMEOUT) throw fail('RPC_UNREACHABLE', { url: hostOf(url), method, status })
  const answer = parseAnswer(value)
  // Some endpoints state a JSON-RPC error under a 4xx or 5xx status: what they state counts more than the status.
  if (answer === undefined) {
    if (status === 429 || status >= 500)
      throw fail('RPC_UNREACHABLE', { url: hostOf(url), method, status, retryAfterMs })
    throw fail('RPC_ANSWER_INVALID', { url: hostOf(url), method, status, body: preview(text) })
  }
  if ('result' in answer) return answer.result
  const { code, message, data } = answer.error
  // -32005: limit exceeded (EIP-1474), the 429 of JSON-RPC.
  if (status === 429 || code === -32005)
    throw fail('RPC_UNREACHABLE', { url: hostOf(url), method, status, rpcCode: code, message, retryAfterMs })
  throw fail('RPC_ERROR', { method, rpcCode: code, message, data })
}

/** Seconds; a date is left to our own pace. */
function parseRetryAfter(value: string | null): number | undefined {
  return value !== null && /^[0-9]{1,6}$/.test(value) ? 1000 * Number(value) : undefined
}

type Answer =
  | { readonly result: unknown }
  | { readonly error: { readonly code: number; readonly message: string; readonly data: string | undefined } }

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function parseAnswer(value: unknown): Answer | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const { error, result } = value as { readonly error?: unknown; readonly result?: unknown }
  if (error === undefined || error === null) return 'result' in value ? { result } : undefined
  const { code, message, data } = error as {
    readonly code?: unknown
    readonly message?: unknown
    readonly data?: unknown
  }
  return {
    error: {
      code: typeof code === 'number' ? code : 0,
      message: typeof message === 'string' ? message.slice(0, 300) : preview(error),
      data: revertData(data),
    },
  }
}

/** geth gives the bytes as `data`, others as `data.data` or `data.result`. */
function revertData(data: unknown): string | undefined {
  const nested = typeof data === 'object' && data !== null ? Object.values(data) : [data]
  return nested.find(
    (value): value is string =>
      typeof value === 'string' && value.length <= ERROR_DATA_CHARACTERS_MAX && /^0x(?:[0-9a-fA-F]{2})*$/.test(value),
  )
}

/** URLs of public endpoints carry API keys in path or query: errors name the origin only. */
function hostOf(url: string): string {
  try {
    return new URL(url).origin
  } catch {
    return preview(url)
  }
}
