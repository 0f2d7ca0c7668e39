import type { Clock, Logger } from '@weightless/core'
import { isFailure } from '@weightless/core'
import { fail } from '../errors.ts'
import { answer, answerFailure, answerJson, answerPreflight } from './answer.ts'

/** What a route may know of the connection behind its request. */
export type RequestInfo = {
  /** Runs `release` once the answer has left this machine, or its time is over: what an answer holds is held until then. */
  afterAnswer(release: () => void): void
  /** How much of the request's body has come so far; `undefined` where the server cannot tell. */
  readonly receivedBytes: (() => number) | undefined
  /** Reads the whole body into a buffer; `undefined` where the server cannot. */
  readonly readInto: ((target: Uint8Array) => Promise<number>) | undefined
}

/** What a reader of a body asks of the server. */
export type BodySource = Pick<RequestInfo, 'receivedBytes' | 'readInto'>

/** What the server behind a service says of a request: `finished` settles when the answer has left, or never will. */
export type ServerInfo = {
  readonly finished?: Promise<unknown> | undefined
  readonly receivedBytes?: (() => number) | undefined
  readonly readInto?: ((target: Uint8Array) => Promise<number>) | undefined
}

export type ServiceCall = {
  readonly request: Request
  readonly url: URL
  readonly info: RequestInfo
  readonly signal: AbortSignal
}

/** The little of a metrics registry that a role needs; `host` has it all. */
export type RoleMetrics = {
  readonly contentType: string
  render(): Promise<string>
  /** A gauge whose value is read when somebody asks. */
  gaugeOf(name: string, help: string, read: () => number): void
}

export type ServiceDeps = {
  readonly name: string
  readonly version: string
  readonly clock: Clock
  readonly logger: Logger
  /** POST to `/`. */
  readonly rpc: (request: Request, info: RequestInfo) => Promise<Response>
  /** All other routes; `undefined` for a path that is none. */
  readonly routes: (call: ServiceCall) => Promise<Response> | undefined
  readonly isReady: () => boolean
  readonly metrics: Pick<RoleMetrics, 'contentType' | 'render'>
  /** Aborts when the service stops. */
  readonly signal: AbortSignal
}

/** An answer that a client takes longer to read is no longer counted: the socket's own time limit ends it. */
const ANSWER_HELD_MS_MAX = 60_000

export type Service = (request: Request, info: ServerInfo) => Promise<Response>

/** The face that both roles share: JSON-RPC on `/`, health, metrics, CORS, and JSON for everything else, never a page. */
export function createService(deps: ServiceDeps): Service {
  const { logger } = deps
  return async (request, serverInfo) => {
    const url = new URL(request.url)
    if (request.method === 'OPTIONS') return answerPreflight()
    const { receivedBytes, readInto } = serverInfo
    const held: (() => void)[] = []
    const info: RequestInfo = { afterAnswer: (release) => held.push(release), receivedBytes, readInto }
    try {
      const response =
        url.pathname === '/' && request.method === 'POST'
          ? await deps.rpc(request, info)
          : await route({ request, url, info, signal: AbortSignal.any([request.signal, deps.signal]) })
      releaseLater(held, serverInfo)
      return response
    } catch (error) {
      for (const release of held) release()
      if (deps.signal.aborted && !isFailure(error)) return answerFailure(fail('SERVICE_STOPPING'))
      if (!isFailure(error) && !request.signal.aborted)
        logger.error('http.failed', { path: url.pathname.slice(0, 80), error })
      return answerFailure(error)
    }
  }

  async function route(call: ServiceCall): Promise<Response> {
    const { request, url } = call
    const isRead = request.method === 'GET' || request.method === 'HEAD'
    if (isRead && url.pathname === '/health') return answerJson({ ready: deps.isReady() }, deps.isReady() ? 200 : 503)
    if (isRead && url.pathname === '/metrics') {
      return answer(await deps.metrics.render(), { headers: { 'content-type': deps.metrics.contentType } })
    }
    if (isRead && url.pathname === '/')
      return answerJson({ name: deps.name, version: deps.version, ready: deps.isReady() })
    const answered = deps.routes(call)
    if (answered !== undefined) return await answered
    throw fail('ROUTE_UNKNOWN', { method: request.method.slice(0, 16), path: url.pathname.slice(0, 80) })
  }

  function releaseLater(held: readonly (() => void)[], { finished }: ServerInfo): void {
    if (held.length === 0) return
    const over = new AbortController()
    const release = (): void => {
      if (over.signal.aborted) return
      over.abort()
      for (const one of held) one()
    }
    if (finished === undefined) {
      release()
      return
    }
    finished.then(release, release)
    deps.clock.sleep(ANSWER_HELD_MS_MAX, { signal: over.signal }).then(release, release)
  }
}
