import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { rm } from 'node:fs/promises'
import { connect, type AddressInfo, type Socket } from 'node:net'
import type { Abortable, Logger } from '@weightless/core'
import { isFailure } from '@weightless/core'
import { fail } from './errors.ts'
import { endWithFailure, errorResponse, writeResponse } from './httpResponse.ts'
import { toRequest } from './httpRequest.ts'

/** Serves a function from Request to Response. The body of a request is read from the socket only as far as the handler reads
 *  it: not reading is the back-pressure. `request.signal` aborts when the client goes away before it has the whole answer.
 *  Throws `PORT_TAKEN` or `LISTEN_FAILED`. */
export async function serveHttp(options: ServeHttpOptions): Promise<HttpServer> {
  const limits: HttpLimits = { ...HTTP_LIMITS, ...options.limits }
  const host = options.host ?? '127.0.0.1'
  const sockets = new Set<Socket>()
  let closing: Promise<void> | undefined

  const server = createServer(
    {
      maxHeaderSize: limits.headerBytesMax,
      headersTimeout: limits.headersMsMax,
      requestTimeout: limits.requestMsMax,
      keepAliveTimeout: limits.keepAliveMs,
      connectionsCheckingInterval: Math.max(100, Math.min(limits.headersMsMax, CHECK_INTERVAL_MS)),
      noDelay: true,
    },
    (incoming, outgoing) => void answer(incoming, outgoing),
  )
  server.maxConnections = limits.connectionCountMax
  server.maxHeadersCount = limits.headerCountMax
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  server.on('clientError', refuseBrokenRequest)

  async function answer(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    // Most handlers of uploads ask for it once; a refusal never does.
    let gone: AbortController | undefined
    let isGone = false
    const signalOfClient = (): AbortSignal => {
      gone ??= new AbortController()
      if (isGone) gone.abort(fail('PEER_GONE'))
      return gone.signal
    }
    incoming.on('error', () => undefined)
    outgoing.on('error', () => undefined)
    outgoing.once('close', () => {
      if (outgoing.writableFinished) return
      isGone = true
      gone?.abort(fail('PEER_GONE'))
    })
    let response: Response
    try {
      const { request, receivedBytes, readInto } = toRequest(incoming, {
        signal: signalOfClient,
        address: url,
        bodyIdleMsMax: limits.bodyIdleMsMax,
      })
      response = await options.handler(request, {
        remoteAddress: incoming.socket.remoteAddress ?? '',
        receivedBytes,
        readInto,
      })
    } catch (error) {
      if (!isGone && !isFailure(error, 'REQUEST_INVALID')) {
        options.logger?.error('http.handlerFailed', { method: incoming.method, path: pathOf(incoming), error })
      }
      response = errorOf(error)
    }
    if (closing !== undefined) outgoing.shouldKeepAlive = false
    await writeResponse(response, incoming, outgoing, {
      lingerBytesMax: limits.lingerBytesMax,
      lingerMsMax: limits.lingerMsMax,
      idleMsMax: limits.answerIdleMsMax,
      onFailed: (error) => {
        if (!isGone)
          options.logger?.warn('http.responseFailed', { method: incoming.method, path: pathOf(incoming), error })
      },
    })
  }

  const { socketPath } = options
  if (socketPath === undefined) await listen(server, { host, port: options.port })
  else await listenOnFile(server, socketPath)
  const port = socketPath === undefined ? (server.address() as AddressInfo).port : 0
  // Clients of a socket file name a host that nobody looks up.
  const url =
    socketPath === undefined ? `http://${host.includes(':') ? `[${host}]` : host}:${port}` : 'http://localhost'

  function close(): Promise<void> {
    closing ??= new Promise((resolve) => {
      const force = setTimeout(() => {
        // Upgraded sockets left the server's own list, so they are ended from ours.
        for (const socket of sockets) socket.destroy()
      }, limits.closeMsMax)
      options.signal?.removeEventListener('abort', onAbort)
      server.close(() => {
        clearTimeout(force)
        for (const socket of sockets) socket.destroy()
        resolve()
      })
      server.closeIdleConnections()
      // To Node a connection that never sent a request is not idle but late.
      for (const socket of sockets) if (socket.bytesRead === 0) socket.destroy()
    })
    return closing
  }
  const onAbort = (): void => void close()
  if (options.signal?.aborted) {
    await close()
    throw options.signal.reason
  }
  options.signal?.addEventListener('abort', onAbort, { once: true })

  return { url, host, port, server, close, [Symbol.asyncDispose]: close }
}

export type HttpHandler = (request: Request, info: HttpInfo) => Promise<Response>
export type HttpInfo = {
  readonly remoteAddress: string
  /** How much of the request's body has come so far, read by the handler or not. */
  receivedBytes(): number
  /** The whole body of a declared length into a buffer of the handler's own, instead of `request.arrayBuffer()`: a buffer that
   *  is used again costs no garbage collection. `undefined` without a body. */
  readonly readInto: ((target: Uint8Array) => Promise<number>) | undefined
}
export type ServeHttpOptions = Abortable & {
  /** Default 127.0.0.1: everything binds to this machine unless told otherwise (DESIGN D14). */
  readonly host?: string | undefined
  /** 0 = any free port. */
  readonly port: number
  /** A socket file instead of a port, for this user alone; one that a dead process left there is replaced. */
  readonly socketPath?: string | undefined
  readonly handler: HttpHandler
  readonly limits?: Partial<HttpLimits> | undefined
  readonly logger?: Logger | undefined
}
export type HttpServer = AsyncDisposable & {
  readonly url: string
  readonly host: string
  readonly port: number
  /** For upgrades (WebSocket) only. */
  readonly server: Server
  /** Refuses new connections, lets running answers finish, and ends what is left after `closeMsMax`. */
  close(): Promise<void>
}

export type HttpLimits = {
  readonly headerBytesMax: number
  readonly headerCountMax: number
  /** From the first byte of a request to the end of its headers. */
  readonly headersMsMax: number
  /** From the first byte of a request to the end of its body. */
  readonly requestMsMax: number
  /** Longest wait for the next bytes of a body that the handler is reading. */
  readonly bodyIdleMsMax: number
  /** Longest time in which a client takes nothing of an answer that lies ready for it. */
  readonly answerIdleMsMax: number
  readonly keepAliveMs: number
  readonly connectionCountMax: number
  /** Bytes of an unread body that are thrown away to keep the client able to read the answer. */
  readonly lingerBytesMax: number
  readonly lingerMsMax: number
  readonly closeMsMax: number
}

/** The defaults, each with its reason. */
export const HTTP_LIMITS: HttpLimits = {
  // Node's own default; no client of ours or of 0G sends more than 1 KiB.
  headerBytesMax: 16 * 1024,
  headerCountMax: 100,
  // A loopback or a slow phone alike send headers in one packet.
  headersMsMax: 10_000,
  // Long, because not reading is our back-pressure: a gateway may keep a body waiting while its spool drains.
  requestMsMax: 600_000,
  // The guard against a client that dribbles: silence while we want to read ends the request.
  bodyIdleMsMax: 30_000,
  // The same guard in the other direction: what nobody reads must not stay in memory. A video player that paused asks again.
  answerIdleMsMax: 30_000,
  // Longer than the pauses of a polling client; below the 60 s at which middle boxes forget a connection.
  keepAliveMs: 30_000,
  // The official SDK opens a connection per segment at once: 4096 are a 1 GiB file, at about 64 KiB each while they wait.
  connectionCountMax: 4096,
  // An early refusal must reach a client that is still sending a segment of 4 MiB; beyond that the connection is cut.
  lingerBytesMax: 8 * 1024 ** 2,
  lingerMsMax: 2_000,
  closeMsMax: 3_000,
}

/** How often Node looks for connections over their time: its default of 30 s would stretch a limit of 10 s to 40. */
const CHECK_INTERVAL_MS = 2_000

type Where = { readonly host: string; readonly port: number }

function listen(server: Server, where: Where | { readonly path: string }, at = where as Where): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (cause: NodeJS.ErrnoException): void => {
      const reason = cause.code ?? 'unknown'
      reject(fail(reason === 'EADDRINUSE' ? 'PORT_TAKEN' : 'LISTEN_FAILED', { ...at, reason }, { cause }))
    }
    server.once('error', onError)
    server.listen({ ...where, exclusive: true, backlog: 1024 }, () => {
      server.off('error', onError)
      server.on('error', () => undefined)
      resolve()
    })
  })
}

/** The file is this user's alone (mode 600). One that nobody listens on any more is removed first. */
async function listenOnFile(server: Server, path: string): Promise<void> {
  const at = { host: path, port: 0 }
  if (await isAnswered(path)) throw fail('PORT_TAKEN', { ...at, reason: 'EADDRINUSE' })
  await rm(path, { force: true })
  // The name appears, before this call returns, with the mode that the mask leaves: at no moment may others open it.
  const before = process.umask(0o177)
  const listening = listen(server, { path }, at)
  process.umask(before)
  await listening
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

/** Never the text of an unknown error: it may hold a path or a key. */
function errorOf(error: unknown): Response {
  if (isFailure(error, 'REQUEST_INVALID')) return errorResponse(400, error)
  if (isFailure(error, 'BODY_STALLED')) return errorResponse(408, error)
  return errorResponse(500, fail('INTERNAL'))
}

function refuseBrokenRequest(error: NodeJS.ErrnoException, socket: Socket): void {
  // A connection that has said nothing is told nothing: its client may be sending its first request at this moment, and would take
  // what it reads for the answer.
  const isSilent = error.code === 'ERR_HTTP_REQUEST_TIMEOUT' && socket.bytesRead === 0
  if (!socket.writable || error.code === 'ECONNRESET' || isSilent) {
    socket.destroy()
    return
  }
  const [status, failure] =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? (['431 Request Header Fields Too Large', fail('REQUEST_HEADERS_TOO_LARGE')] as const)
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? (['408 Request Timeout', fail('REQUEST_TIMEOUT')] as const)
        : (['400 Bad Request', fail('REQUEST_INVALID')] as const)
  endWithFailure(socket, status, failure)
}

/** Without the query: it may carry what does not belong into a log. */
function pathOf(incoming: IncomingMessage): string {
  return (incoming.url ?? '').split('?', 1)[0]!.slice(0, 200)
}
