import type { Clock, Logger } from '@weightless/core'
import { isFailure, jsonRpcError, jsonRpcResult, parseJsonRpc, RPC_ANSWER_MS_MAX } from '@weightless/core'
import { readBounded } from '@weightless/sdk'
import { faultOf } from '../zgs/fault.ts'
import { callAdmin, type AdminMethods } from './compat.ts'

/** The largest question is an array of 64 calls with three numbers each. */
const BODY_BYTES_MAX = 64 * 1024

export type AdminServiceDeps = {
  readonly methods: AdminMethods
  readonly clock: Clock
  readonly logger: Logger
  /** Aborts when the service stops. */
  readonly signal: AbortSignal
}

/**
 * JSON-RPC of the private listener. It binds a loopback address or a socket file, and still a web page in a browser of this
 * machine could send to it: no page can set this content type without asking first, and nobody answers that question here;
 * requests that name an origin, or another host than this machine, are refused.
 */
export function createAdminService(deps: AdminServiceDeps): (request: Request) => Promise<Response> {
  const { methods, clock, logger } = deps
  return async (request) => {
    const refused = refusalOf(request)
    if (refused !== undefined) return refuse(refused)
    const signal = AbortSignal.any([request.signal, deps.signal, clock.deadline(RPC_ANSWER_MS_MAX)])
    try {
      const { calls, isBatch } = parseJsonRpc(await readBounded(request, BODY_BYTES_MAX, { signal }))
      const answers: string[] = []
      for (const call of calls) {
        if (call.kind === 'fault') answers.push(jsonRpcError(call.id, faultFields(call.failure)))
        else {
          logger.info('admin.called', { method: call.method.slice(0, METHOD_LOG_MAX) })
          const text = await callAdmin(methods, call, { signal }).then(
            (result) => call.id && jsonRpcResult(call.id, result),
            (error: unknown) => call.id && jsonRpcError(call.id, faultFields(error)),
          )
          if (text !== undefined) answers.push(text)
        }
      }
      if (answers.length === 0) return new Response(null, { status: 204 })
      return json(isBatch ? `[${answers.join(',')}]` : answers[0]!)
    } catch (error) {
      return json(jsonRpcError('null', faultFields(error)))
    }
  }

  function faultFields(error: unknown): { code: number; message: string; data?: string } {
    const { code, message, data } = faultOf(error)
    if (!isFailure(error) && message === 'Internal error' && data === undefined) logger.error('admin.failed', { error })
    return { code, message, ...(data === undefined ? {} : { data }) }
  }
}

const METHOD_LOG_MAX = 64

type Refusal = { readonly status: number; readonly reason: string }

/** Why a request is not for these methods; `undefined` when it is. */
export function refusalOf(request: Pick<Request, 'method' | 'headers' | 'url'>): Refusal | undefined {
  const { headers } = request
  if (request.method !== 'POST') return { status: 405, reason: 'send JSON-RPC with POST' }
  if (headers.get('origin') !== null) return { status: 403, reason: 'requests of web pages are not taken' }
  if (!/^application\/json\b/i.test(headers.get('content-type') ?? ''))
    return { status: 415, reason: 'the content type is application/json' }
  if (!LOCAL_HOSTS.has(new URL(request.url).hostname)) return { status: 403, reason: 'the host is not this machine' }
  return undefined
}

/** Names that no foreign page can make point here; `localhost` is what clients of a socket file send. */
const LOCAL_HOSTS: ReadonlySet<string> = new Set(['127.0.0.1', '[::1]', 'localhost'])

function refuse({ status, reason }: Refusal): Response {
  return json(jsonRpcError('null', { code: -32600, message: 'Invalid request', data: reason }), status)
}

/** Without CORS headers, unlike the public server. */
function json(text: string, status = 200): Response {
  return new Response(text, { status, headers: { 'content-type': 'application/json' } })
}
