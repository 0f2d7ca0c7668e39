import type { Abortable, Clock, Net, Random } from '@weightless/core'
import { isFailure, preview } from '@weightless/core'
import { fail } from '../errors.ts'

/** A block header with its transaction hashes is below this, however full the block. */
const ANSWER_BYTES_MAX: number = 4 * 1024 ** 2
const TIMEOUT_MS = 20_000
const ATTEMPTS_MAX = 5
const DELAY_MS_MIN = 200
const DELAY_MS_MAX = 10_000
/** A busy endpoint may ask for so much patience. */
const RETRY_AFTER_MS_MAX = 30_000

/** Asks an endpoint that others run: tries again, with growing pauses and jitter, what may succeed later, and no sooner than
 *  the endpoint asks for. Throws `CHAIN_UNAVAILABLE`, or `CHAIN_CALL_FAILED` with what it states. */
export function createRemoteRpc(
  url: string,
  deps: { readonly net: Net; readonly clock: Clock; readonly random: Random },
): RemoteRpc {
  const { net, clock, random } = deps
  return {
    async request(method, params, { signal }) {
      for (let attempt = 1; ; attempt++) {
        signal?.throwIfAborted()
        let askedMs = 0
        try {
          return await ask({ url, method, params }, net, deadline(clock, signal))
        } catch (error) {
          signal?.throwIfAborted()
          if (attempt >= ATTEMPTS_MAX || !isFailure(error, 'CHAIN_UNAVAILABLE')) throw error
          askedMs = Math.min(Number(error.facts['retryAfterMs'] ?? 0), RETRY_AFTER_MS_MAX)
        }
        const [chance] = random.bytes(1)
        const delayMs = Math.min(DELAY_MS_MAX, DELAY_MS_MIN * 2 ** (attempt - 1)) * (0.5 + chance! / 510)
        await clock.sleep(Math.max(askedMs, delayMs), { signal })
      }
    },
  }
}

export type RemoteRpc = {
  request(method: string, params: readonly unknown[], options: Abortable): Promise<unknown>
}

function deadline(clock: Clock, signal: AbortSignal | undefined): AbortSignal {
  const late = clock.deadline(TIMEOUT_MS)
  return signal === undefined ? late : AbortSignal.any([signal, late])
}

async function ask(
  { url, method, params }: { readonly url: string; readonly method: string; readonly params: readonly unknown[] },
  net: Net,
  signal: AbortSignal,
): Promise<unknown> {
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })
  const headers = { 'content-type': 'application/json' }
  let status: number
  let retryAfterMs: number | undefined
  let text: string
  try {
    const response = await net.fetch(new Request(url, { method: 'POST', headers, body, signal }))
    status = response.status
    const after = response.headers.get('retry-after')
    retryAfterMs = after !== null && /^[0-9]{1,6}$/.test(after) ? 1000 * Number(after) : undefined
    text = await readText(response)
  } catch (cause) {
    throw fail('CHAIN_UNAVAILABLE', { method, reason: 'no answer' }, { cause })
  }
  const answer = parse(text)
  if (answer === undefined || status === 429 || (answer.error !== undefined && answer.error.code === LIMIT_EXCEEDED))
    throw fail('CHAIN_UNAVAILABLE', { method, status, retryAfterMs })
  if (answer.error !== undefined)
    throw fail('CHAIN_CALL_FAILED', { method, rpcCode: answer.error.code, message: answer.error.message })
  return answer.result
}

/** EIP-1474. */
const LIMIT_EXCEEDED = -32005

type Answer = {
  readonly result: unknown
  readonly error: { readonly code: number; readonly message: string } | undefined
}

function parse(text: string): Answer | undefined {
  try {
    const value = JSON.parse(text) as {
      readonly result?: unknown
      readonly error?: { readonly code?: unknown; readonly message?: unknown } | null
    } | null
    if (value === null || typeof value !== 'object') return undefined
    const { error } = value
    if (error === undefined || error === null)
      return 'result' in value ? { result: value.result, error: undefined } : undefined
    return { result: undefined, error: { code: Number(error.code) || 0, message: preview(error.message) } }
  } catch {
    return undefined
  }
}

async function readText(response: Response): Promise<string> {
  if (response.body === null) return ''
  const decoder = new TextDecoder()
  let text = ''
  let sizeBytes = 0
  for await (const part of response.body) {
    sizeBytes += part.length
    if (sizeBytes > ANSWER_BYTES_MAX) throw fail('CHAIN_UNAVAILABLE', { sizeBytesMax: ANSWER_BYTES_MAX })
    text += decoder.decode(part, { stream: true })
  }
  return text
}
