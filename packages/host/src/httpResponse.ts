import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Failure } from '@weightless/core'

/** Writes a web Response; what the handler has not read of the request by then is thrown away. A body that fails under way
 *  cuts the connection: a truncated answer must not look whole. */
export async function writeResponse(
  response: Response,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  options: WriteResponseOptions,
): Promise<void> {
  let reader: ReadableStreamDefaultReader<Uint8Array> | undefined
  try {
    reader = response.body?.getReader()
    if (outgoing.destroyed) {
      await reader?.cancel()
      return
    }
    if (!incoming.complete) throwAwayBody(incoming, outgoing, options)
    const headers = headersOf(response)
    if (reader === undefined || incoming.method === 'HEAD') {
      if (reader === undefined && hasLength(response.status)) headers['content-length'] ??= '0'
      outgoing.writeHead(response.status, headers).end()
      await reader?.cancel()
      return
    }
    cutWhenIdle(outgoing, options.idleMsMax)
    await writeBody(reader, headers, response.status, outgoing)
  } catch (error) {
    options.onFailed(error)
    outgoing.destroy()
    await reader?.cancel(error).catch(() => undefined)
  }
}

export type WriteResponseOptions = {
  readonly lingerBytesMax: number
  readonly lingerMsMax: number
  readonly idleMsMax: number
  readonly onFailed: (error: unknown) => void
}

/** `{ error: { code, message, facts, next, retryable } }`, as docs/wire.md says. */
export function errorResponse(status: number, failure: Failure): Response {
  return new Response(JSON.stringify({ error: failure }), { status, headers: { 'content-type': 'application/json' } })
}

/** The same where there is no response to write to: for what never became a request, or is to become a WebSocket. */
export function endWithFailure(stream: Duplex, status: string, failure: Failure): void {
  const body = JSON.stringify({ error: failure })
  stream.end(
    `HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    () => stream.destroy(),
  )
}

async function writeBody(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  headers: Record<string, string | string[]>,
  status: number,
  outgoing: ServerResponse,
): Promise<void> {
  const first = await readOrClose(reader, outgoing)
  const firstChunk = first.value ?? new Uint8Array(0)
  // A body given as bytes or text arrives as one chunk and its end at once: then its length is known and one packet does.
  const second = first.done ? first : await settledSoon(readOrClose(reader, outgoing))
  if ('done' in second && second.done) {
    if (hasLength(status)) headers['content-length'] ??= String(firstChunk.length)
    outgoing.writeHead(status, headers).end(firstChunk)
    return
  }
  outgoing.writeHead(status, headers)
  // A source that breaks off while the client is slow ends the answer at once: it may be the reason why.
  let onBroken: (error: unknown) => void = () => undefined
  reader.closed.catch((error: unknown) => onBroken(error))
  /** Nothing more is asked of the source before the kernel has what was written: a source can tell by that how fast its reader is,
   *  and may use the memory again. */
  const write = (chunk: Uint8Array): Promise<void> => written(outgoing, chunk, (listener) => (onBroken = listener))
  await write(firstChunk)
  let step = 'pending' in second ? await second.pending : second
  while (!step.done) {
    await write(step.value)
    step = await readOrClose(reader, outgoing)
  }
  outgoing.end()
}

/** A source that waits for ever must not keep a reader for a client that has gone. */
function readOrClose(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  outgoing: ServerResponse,
): Promise<ReadableStreamReadResult<Uint8Array>> {
  return new Promise((resolve, reject) => {
    const onClose = (): void => reject(new Error('the client is gone'))
    if (outgoing.destroyed) {
      onClose()
      return
    }
    outgoing.once('close', onClose)
    reader.read().then(
      (step) => {
        outgoing.off('close', onClose)
        resolve(step)
      },
      (error: unknown) => {
        outgoing.off('close', onClose)
        reject(error)
      },
    )
  })
}

/** Turns of the microtask queue that a finished stream needs to say so, with room for our own promise around it. */
const SOON_TURNS = 6

type Step = ReadableStreamReadResult<Uint8Array>

async function settledSoon(read: Promise<Step>): Promise<Step | { readonly pending: Promise<Step> }> {
  let settled: Step | undefined
  read.then(
    (step) => {
      settled = step
    },
    () => undefined,
  )
  for (let turn = 0; turn < SOON_TURNS && settled === undefined; turn++) await Promise.resolve()
  return settled ?? { pending: read }
}

/** Node's own timer of a socket counts partial writes as life; while nothing lies ready it is we who are slow. */
function cutWhenIdle(outgoing: ServerResponse, idleMsMax: number): void {
  outgoing.setTimeout(idleMsMax, () => {
    const { socket } = outgoing
    if (socket !== null && socket.writableLength === 0) socket.setTimeout(idleMsMax)
    else outgoing.destroy()
  })
}

function written(
  outgoing: ServerResponse,
  chunk: Uint8Array,
  listenBroken: (listener: (error: unknown) => void) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    listenBroken(reject)
    // A connection that ends does not call back for what it still had to write.
    const onClose = (): void => reject(new Error('the client is gone'))
    if (outgoing.destroyed) {
      onClose()
      return
    }
    outgoing.once('close', onClose)
    outgoing.write(chunk, (error) => {
      outgoing.off('close', onClose)
      if (error) reject(error)
      else resolve()
    })
  })
}

/** The answer came before the body was read: the rest is thrown away within limits, because closing at once would reset the
 *  connection before the client has read the answer. */
function throwAwayBody(incoming: IncomingMessage, outgoing: ServerResponse, options: WriteResponseOptions): void {
  const socket = incoming.socket
  let thrownAway = 0
  incoming.on('data', (chunk: Buffer) => {
    thrownAway += chunk.length
    if (thrownAway > options.lingerBytesMax) socket.destroy()
  })
  incoming.resume()
  outgoing.once('finish', () => {
    if (incoming.complete) return
    const timer = setTimeout(() => socket.destroy(), options.lingerMsMax)
    const stop = (): void => clearTimeout(timer)
    incoming.once('end', stop)
    incoming.once('close', stop)
  })
}

function headersOf(response: Response): Record<string, string | string[]> {
  const headers: Record<string, string | string[]> = {}
  for (const [name, value] of response.headers) if (name !== 'set-cookie') headers[name] = value
  const cookies = response.headers.getSetCookie()
  if (cookies.length > 0) headers['set-cookie'] = cookies
  return headers
}

function hasLength(status: number): boolean {
  return status !== 204 && status !== 304
}
