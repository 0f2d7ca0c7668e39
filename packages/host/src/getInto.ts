import { connect, type Socket } from 'node:net'
import type { Net } from '@weightless/core'
import { copyInto } from './copyInto.ts'
import { fail } from './errors.ts'

/** `Net.getInto` over plain HTTP/1.1: bodies go from the kernel into the caller's buffer. node:http makes a buffer for every
 *  64 KiB that it receives, copies it once more for its parser's listener, and leaves both to the garbage collector; for a
 *  download that is more CPU time than the copying itself. This knows one form of answer only, a head and a body of the length
 *  that the head declares; whatever else comes is left to `fetch`, which asks again. */
export function createGetInto(options: GetIntoOptions): NonNullable<Net['getInto']> {
  const { idleMsMax, socketsPerOriginMax, freeSocketsPerOriginMax } = options
  const origins = new Map<string, Origin>()

  function originOf(host: string): Origin | undefined {
    const known = origins.get(host)
    if (known !== undefined) return known
    if (origins.size >= ORIGINS_MAX) return undefined
    const made: Origin = { free: [], openCount: 0, isUnfit: false }
    origins.set(host, made)
    return made
  }

  function open(url: URL, origin: Origin): Connection {
    const connection: Connection = { socket: undefined as never, exchange: undefined, isReused: false }
    const socket: Socket = connect({
      host: url.hostname.replace(/^\[|\]$/g, ''),
      port: url.port === '' ? 80 : Number(url.port),
      noDelay: true,
      onread: {
        // Asked before each read: the head comes by the common buffer, what follows it goes straight to its place.
        buffer: () => placeOf(connection.exchange),
        callback: (sizeBytes): boolean => {
          if (connection.exchange === undefined) socket.destroy()
          else receive(connection.exchange, sizeBytes)
          return !socket.destroyed
        },
      },
    })
    connection.socket = socket
    origin.openCount += 1
    let cause: unknown
    socket.setTimeout(idleMsMax)
    socket.on('timeout', () => {
      cause = fail('BODY_STALLED', { idleMsMax })
      socket.destroy()
    })
    socket.on('error', (error) => (cause ??= error))
    socket.on('close', () => {
      origin.openCount -= 1
      const at = origin.free.indexOf(connection)
      if (at >= 0) origin.free.splice(at, 1)
      if (connection.exchange?.body === undefined) connection.exchange?.end({ lost: cause })
      else connection.exchange.fail(cause !== undefined && isStalled(cause) ? cause : fail('PEER_GONE', {}, { cause }))
    })
    return connection
  }

  function once(connection: Connection, origin: Origin, url: URL, ask: Ask): Promise<End> {
    const { socket } = connection
    const { signal } = ask
    return new Promise<End>((resolve, reject) => {
      const settle = (): void => {
        connection.exchange = undefined
        signal?.removeEventListener('abort', onAbort)
      }
      const onAbort = (): void => exchange.fail(signal!.reason)
      const exchange: Exchange = {
        take: ask.take,
        head: EMPTY,
        body: undefined,
        answer: undefined,
        receivedBytes: 0,
        end: (result) => {
          settle()
          if ('body' in result && result.keepsAlive && origin.free.length < freeSocketsPerOriginMax) {
            connection.isReused = true
            origin.free.push(connection)
            // A connection that waits for work keeps no process alive.
            socket.unref()
          } else socket.destroy()
          resolve(result)
        },
        fail: (reason) => {
          settle()
          socket.destroy()
          reject(reason as Error)
        },
      }
      connection.exchange = exchange
      signal?.addEventListener('abort', onAbort, { once: true })
      socket.ref()
      socket.write(`GET ${url.pathname}${url.search} HTTP/1.1\r\nhost: ${url.host}\r\nconnection: keep-alive\r\n\r\n`)
    })
  }

  return async (text, ask) => {
    ask.signal?.throwIfAborted()
    const url = new URL(text)
    if (url.protocol !== 'http:' || url.username !== '' || url.password !== '') return undefined
    const origin = originOf(url.host)
    if (origin === undefined || origin.isUnfit) return undefined
    let kept = origin.free.pop()
    if (kept === undefined && origin.openCount >= socketsPerOriginMax) return undefined
    for (;;) {
      const connection = kept ?? open(url, origin)
      const end = await once(connection, origin, url, ask)
      if ('body' in end) return { status: end.status, body: end.body }
      if ('unfit' in end) {
        origin.isUnfit = true
        return undefined
      }
      // The server may close a kept connection just as we use it: on a fresh one there is no such race.
      if (!connection.isReused) throw new TypeError('fetch failed', { cause: end.lost })
      kept = undefined
    }
  }
}

export type GetIntoOptions = {
  /** A connection over which nothing comes for so long is ended. */
  readonly idleMsMax: number
  /** Above this `fetch` is to be asked, which lets them wait. */
  readonly socketsPerOriginMax: number
  readonly freeSocketsPerOriginMax: number
}

/** Servers that are remembered: beyond that, all go by `fetch`. */
const ORIGINS_MAX = 1_024
/** Ours are below 1 KiB; Node's own client stops at 16 as well. */
const HEAD_BYTES_MAX: number = 16 * 1024
/** What comes with a head, before there is a buffer for it: one read of what Node itself would read. */
const FIRST_READ_BYTES: number = 64 * 1024
/** More in one read than a socket buffer mostly holds; less would only be more calls. */
const READ_BYTES_MAX: number = 1024 ** 2

type Ask = Parameters<NonNullable<Net['getInto']>>[1]
type Origin = { readonly free: Connection[]; openCount: number; isUnfit: boolean }
type Connection = { socket: Socket; exchange: Exchange | undefined; isReused: boolean }
/** `lost`: before the head had come, so nothing was handed out. */
type End =
  | { readonly status: number; readonly body: Uint8Array; readonly keepsAlive: boolean }
  | { readonly unfit: true }
  | { readonly lost: unknown }
type Exchange = {
  readonly take: Ask['take']
  head: Uint8Array
  answer: Head | undefined
  body: Uint8Array | undefined
  receivedBytes: number
  end(result: End): void
  fail(reason: unknown): void
}

const EMPTY: Uint8Array = new Uint8Array(0)
/** One for all: it is read to its end in the callback of the read that filled it. */
const firstRead: Uint8Array = new Uint8Array(FIRST_READ_BYTES)

function placeOf(exchange: Exchange | undefined): Uint8Array {
  if (exchange?.body === undefined) return firstRead
  return exchange.body.subarray(exchange.receivedBytes, exchange.receivedBytes + READ_BYTES_MAX)
}

function receive(exchange: Exchange, sizeBytes: number): void {
  if (exchange.body === undefined) receiveHead(exchange, sizeBytes)
  else exchange.receivedBytes += sizeBytes
  const { body, answer } = exchange
  if (body === undefined || answer === undefined || exchange.receivedBytes < body.length) return
  exchange.end({ status: answer.status, body, keepsAlive: answer.keepsAlive })
}

function receiveHead(exchange: Exchange, sizeBytes: number): void {
  const came = Buffer.concat([exchange.head, firstRead.subarray(0, sizeBytes)])
  const headEnd = came.indexOf('\r\n\r\n')
  if (headEnd < 0 && came.length <= HEAD_BYTES_MAX) {
    exchange.head = came
    return
  }
  const answer = headEnd < 0 ? undefined : parseHead(came.toString('latin1', 0, headEnd))
  const rest = came.subarray(headEnd + 4)
  if (answer === undefined || rest.length > answer.sizeBytes) return exchange.end({ unfit: true })
  try {
    const taken = exchange.take(answer.status, answer.sizeBytes)
    exchange.body = taken.subarray(0, answer.sizeBytes)
  } catch (error) {
    return exchange.fail(error)
  }
  exchange.answer = answer
  copyInto(exchange.body, rest, 0)
  exchange.receivedBytes = rest.length
}

/** What the status line and the fields say; `undefined` for every form but a body of declared length that is sent as it is. */
export function parseHead(head: string): Head | undefined {
  const [first, ...lines] = head.split('\r\n')
  const status = Number(/^HTTP\/1\.1 ([2-5]\d\d)(?: .*)?$/.exec(first!)?.[1] ?? 0)
  if (status === 0 || status === 204 || status === 304) return undefined
  let sizeBytes: number | undefined
  let keepsAlive = true
  for (const line of lines) {
    const [, name, value] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/.exec(line) ?? []
    if (name === undefined || value === undefined) return undefined
    switch (name.toLowerCase()) {
      case 'content-length':
        if (sizeBytes !== undefined || !/^\d{1,15}$/.test(value)) return undefined
        sizeBytes = Number(value)
        break
      case 'transfer-encoding':
        return undefined
      case 'content-encoding':
        if (value.toLowerCase() !== 'identity') return undefined
        break
      case 'connection':
        if (value.toLowerCase() !== 'keep-alive') keepsAlive = false
    }
  }
  return sizeBytes === undefined ? undefined : { status, sizeBytes, keepsAlive }
}

type Head = { readonly status: number; readonly sizeBytes: number; readonly keepsAlive: boolean }

function isStalled(cause: unknown): boolean {
  return (cause as { code?: unknown }).code === 'BODY_STALLED'
}
