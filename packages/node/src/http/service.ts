import type { Logger } from '@weightless/core'
import { isFailure } from '@weightless/core'
import { fail } from '../errors.ts'
import type { FollowerState } from '../flow/follow.ts'
import { answer, answerFailure, answerJson, answerPreflight } from './answer.ts'

/** What a reader of a body asks of the server behind its request. */
export type BodySource = {
  /** How much of the request's body has come so far; `undefined` where the server cannot tell. */
  readonly receivedBytes: (() => number) | undefined
  /** Reads the whole body into a buffer; `undefined` where the server cannot. */
  readonly readInto: ((target: Uint8Array) => Promise<number>) | undefined
}

/** What the server behind a service says of a request; in tests there is none. */
export type ServerInfo = Partial<BodySource>

export type ServiceCall = {
  readonly request: Request
  readonly url: URL
  readonly source: BodySource
  readonly signal: AbortSignal
}

/** The little of a metrics registry that a role needs; `host` has it all. */
export type RoleMetrics = {
  readonly contentType: string
  render(): Promise<string>
  /** A gauge whose value is read when somebody asks. */
  gaugeOf(name: string, help: string, read: () => number): void
  /** One for each value of a label. */
  gaugesOf(name: string, help: string, label: string, read: () => Readonly<Record<string, number>>): void
}

export type ServiceDeps = {
  readonly name: string
  readonly version: string
  readonly logger: Logger
  /** POST to `/`. */
  readonly rpc: (request: Request, source: BodySource) => Promise<Response>
  /** All other routes; `undefined` for a path that is none. */
  readonly routes: (call: ServiceCall) => Promise<Response> | undefined
  readonly isReady: () => boolean
  /** Why the store of this service takes no more writes. */
  readonly brokenBy: () => string | null
  /** What the follower is doing: told with the health while it cannot go on. */
  readonly chain: () => FollowerState
  readonly metrics: Pick<RoleMetrics, 'contentType' | 'render'>
  /** Aborts when the service stops. */
  readonly signal: AbortSignal
}

export type Service = (request: Request, info: ServerInfo) => Promise<Response>

/** The face that both roles share: JSON-RPC on `/`, health, metrics, CORS, and JSON for everything else, never a page. */
export function createService(deps: ServiceDeps): Service {
  const { logger } = deps
  return async (request, { receivedBytes, readInto }) => {
    const url = new URL(request.url)
    if (request.method === 'OPTIONS') return answerPreflight()
    const source: BodySource = { receivedBytes, readInto }
    try {
      if (url.pathname === '/' && request.method === 'POST') return await deps.rpc(request, source)
      return await route({ request, url, source, signal: AbortSignal.any([request.signal, deps.signal]) })
    } catch (error) {
      if (deps.signal.aborted && !isFailure(error)) return answerFailure(fail('SERVICE_STOPPING'))
      if (!isFailure(error) && !request.signal.aborted)
        logger.error('http.failed', { path: url.pathname.slice(0, 80), error })
      return answerFailure(error)
    }
  }

  async function route(call: ServiceCall): Promise<Response> {
    const { request, url } = call
    const isRead = request.method === 'GET' || request.method === 'HEAD'
    if (isRead && url.pathname === '/health') {
      const ready = deps.isReady()
      const brokenBy = deps.brokenBy()
      const chain = deps.chain()
      const readOnly = brokenBy === null ? {} : { readOnly: brokenBy }
      const halted = 'failure' in chain ? { chain: describeChain(chain) } : {}
      return answerJson({ ready, ...readOnly, ...halted }, ready ? 200 : 503)
    }
    if (isRead && url.pathname === '/metrics') {
      return answer(await deps.metrics.render(), { headers: { 'content-type': deps.metrics.contentType } })
    }
    if (isRead && url.pathname === '/')
      return answerJson({ name: deps.name, version: deps.version, ready: deps.isReady() })
    const answered = deps.routes(call)
    if (answered !== undefined) return await answered
    throw fail('ROUTE_UNKNOWN', { method: request.method.slice(0, 16), path: url.pathname.slice(0, 80) })
  }
}

/** The state of the follower as health and status give it: with its code and the next step while it cannot go on. */
export function describeChain(state: FollowerState): object {
  if (!('failure' in state)) return { state: state.kind }
  const { code, message, next } = state.failure
  return { state: state.kind, code, message, next }
}
