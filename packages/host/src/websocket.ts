import type { IncomingMessage, Server } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Abortable } from '@weightless/core'
import { invariant } from '@weightless/core'
import { WebSocket, WebSocketServer } from 'ws'
import { fail } from './errors.ts'
import { endWithFailure } from './httpResponse.ts'

/** Accepts WebSocket connections on a running HTTP server. `onSocket` answers what to do with the messages of each; text
 *  only: a client that sends bytes is sent away. */
export function attachWebSockets(options: AttachOptions): WebSockets {
  const limits: WebSocketLimits = { ...WEBSOCKET_LIMITS, ...options.limits }
  const sockets = new Set<WebSocket>()
  const server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    maxPayload: limits.messageBytesMax,
    // Compression keeps a window per connection and helps nobody on one machine.
    perMessageDeflate: false,
  })
  // The library's own answer to a broken handshake is a page.
  server.on('wsClientError', (_error, stream) => {
    endWithFailure(stream, '400 Bad Request', fail('REQUEST_INVALID', { part: 'upgrade' }))
  })

  const onUpgrade = (request: IncomingMessage, stream: Duplex, head: Buffer): void => {
    stream.on('error', () => undefined)
    if (closed) return void stream.destroy()
    if (sockets.size >= limits.connectionCountMax) {
      endWithFailure(
        stream,
        '503 Service Unavailable',
        fail('CONNECTIONS_FULL', { connectionCountMax: limits.connectionCountMax }),
      )
      return
    }
    server.handleUpgrade(request, stream, head, (socket) => {
      sockets.add(socket)
      let answered = true
      socket.on('pong', () => (answered = true))
      const ping = setInterval(() => {
        if (!answered) return socket.terminate()
        answered = false
        socket.ping()
      }, limits.pingIntervalMs)
      socket.on('close', () => {
        clearInterval(ping)
        sockets.delete(socket)
      })
      bind(socket, limits, (wrapped) =>
        options.onSocket(wrapped, { remoteAddress: request.socket.remoteAddress ?? '' }),
      )
    })
  }
  let closed = false
  options.server.on('upgrade', onUpgrade)

  async function close(): Promise<void> {
    if (closed) return
    closed = true
    options.server.off('upgrade', onUpgrade)
    // 1001: going away (RFC 6455 7.4.1); a client that reconnects knows that it is not its fault.
    await Promise.all([...sockets].map((socket) => closeWithin(socket, limits.closeMsMax)))
  }

  return {
    get connectionCount() {
      return sockets.size
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

/** Opens a connection and resolves when it is open. Throws `SOCKET_CONNECT_FAILED`; afterwards a loss is told to `onClose`. */
export function connectWebSocket(
  options: ConnectOptions,
  onSocket: (socket: Socket) => SocketHandlers,
  { signal }: Abortable = {},
): Promise<Socket> {
  const limits: WebSocketLimits = { ...WEBSOCKET_LIMITS, ...options.limits }
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    const socket = new WebSocket(options.url, {
      maxPayload: limits.messageBytesMax,
      perMessageDeflate: false,
      handshakeTimeout: limits.handshakeMsMax,
      headers: { ...options.headers },
    })
    let responseHeaders: IncomingMessage['headers'] = {}
    const onAbort = (): void => {
      socket.terminate()
      reject(signal!.reason)
    }
    const onError = (cause: Error): void => {
      signal?.removeEventListener('abort', onAbort)
      reject(fail('SOCKET_CONNECT_FAILED', { url: options.url, reason: cause.message }, { cause }))
    }
    signal?.addEventListener('abort', onAbort, { once: true })
    socket.once('error', onError)
    socket.once('upgrade', (response) => (responseHeaders = response.headers))
    socket.once('open', () => {
      signal?.removeEventListener('abort', onAbort)
      socket.off('error', onError)
      resolve(bind(socket, limits, onSocket, responseHeaders))
    })
  })
}

export type AttachOptions = {
  readonly server: Server
  readonly limits?: Partial<WebSocketLimits> | undefined
  readonly onSocket: (socket: Socket, info: { readonly remoteAddress: string }) => SocketHandlers
}
export type ConnectOptions = {
  readonly url: string
  readonly headers?: { readonly [name: string]: string } | undefined
  readonly limits?: Partial<WebSocketLimits> | undefined
}
export type WebSockets = AsyncDisposable & { readonly connectionCount: number; close(): Promise<void> }

export type Socket = {
  /** Queues a message. A peer that reads so slowly that more than `bufferedBytesMax` wait is cut off (1013): memory is not its to hold. */
  send(text: string): void
  /** Stops reading (back-pressure by TCP) until `resume`. */
  pause(): void
  resume(): void
  close(code?: number, reason?: string): void
  /** Headers of the answer that opened a connection of ours; empty on a server's side. */
  readonly responseHeaders: { readonly [name: string]: string | readonly string[] | undefined }
}
export type SocketHandlers = { onText(text: string): void; onClose(): void }

export type WebSocketLimits = {
  readonly connectionCountMax: number
  readonly messageBytesMax: number
  readonly bufferedBytesMax: number
  readonly pingIntervalMs: number
  readonly handshakeMsMax: number
  readonly closeMsMax: number
}

/** The defaults, each with its reason. */
export const WEBSOCKET_LIMITS: WebSocketLimits = {
  // A long-lived connection costs about 30 KiB; a local network has one per follower and per open page.
  connectionCountMax: 256,
  // One message is one JSON-RPC body: the largest batchSubmit is under 300 KB of hex.
  messageBytesMax: 2 * 1024 ** 2,
  // Two large answers may wait for a peer; more means that it does not read.
  bufferedBytesMax: 64 * 1024 ** 2,
  // A peer that is gone without a word is noticed within two of these.
  pingIntervalMs: 30_000,
  handshakeMsMax: 5000,
  closeMsMax: 1000,
}

function bind(
  socket: WebSocket,
  limits: WebSocketLimits,
  onSocket: (socket: Socket) => SocketHandlers,
  responseHeaders: IncomingMessage['headers'] = {},
): Socket {
  socket.binaryType = 'nodebuffer'
  const wrapped: Socket = {
    responseHeaders,
    send(text) {
      if (socket.readyState !== WebSocket.OPEN) return
      socket.send(text)
      if (socket.bufferedAmount > limits.bufferedBytesMax) socket.terminate()
    },
    pause: () => socket.pause(),
    resume: () => socket.resume(),
    close(code = 1000, reason = '') {
      socket.close(code, reason)
      setTimeout(() => socket.terminate(), limits.closeMsMax).unref()
    },
  }
  const handlers = onSocket(wrapped)
  socket.on('message', (data, isBinary) => {
    if (isBinary) return wrapped.close(1003, 'text only')
    invariant(Buffer.isBuffer(data), 'binaryType nodebuffer gives buffers')
    handlers.onText(data.toString('utf8'))
  })
  // A protocol error (bad UTF-8, an oversize message) closes the connection by itself; the close is what counts.
  socket.on('error', () => undefined)
  socket.once('close', () => handlers.onClose())
  return wrapped
}

function closeWithin(socket: WebSocket, ms: number): Promise<void> {
  return new Promise((resolve) => {
    if (socket.readyState === WebSocket.CLOSED) return resolve()
    const timer = setTimeout(() => socket.terminate(), ms)
    socket.once('close', () => {
      clearTimeout(timer)
      resolve()
    })
    socket.close(1001, 'going away')
  })
}
