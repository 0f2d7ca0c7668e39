import { Agent, request as httpRequest } from 'node:http'
import type { ClientRequest, IncomingMessage } from 'node:http'
import type { Net } from '@weightless/core'
import { createGetInto } from './getInto.ts'
import { incomingBody } from './incomingBody.ts'

/** Connections to one machine at once: a client with 16 requests in flight to each of 6 nodes stays far below. */
const SOCKETS_PER_ORIGIN_MAX = 128
const FREE_SOCKETS_PER_ORIGIN_MAX = 32
/** Callers give their deadlines by signal; this ends what nobody watches any more. Node's fetch has the same limit. */
const IDLE_MS_MAX = 300_000

const agent: Agent = new Agent({
  keepAlive: true,
  maxSockets: SOCKETS_PER_ORIGIN_MAX,
  maxFreeSockets: FREE_SOCKETS_PER_ORIGIN_MAX,
  scheduling: 'lifo',
})

/** The Net port. Plain http (storage nodes, the embedded chain) goes over node:http with kept connections: two thirds of the
 *  CPU time of Node 20's fetch for bodies of 4 MiB, either way. Everything else is the platform's fetch. Fails as fetch does:
 *  with the signal's reason, or a TypeError whose cause says why. */
export const systemNet: Net = {
  fetch: (request) => (request.url.startsWith('http:') ? overHttp(request) : fetch(request)),
  getInto: createGetInto({
    idleMsMax: IDLE_MS_MAX,
    socketsPerOriginMax: SOCKETS_PER_ORIGIN_MAX,
    freeSocketsPerOriginMax: FREE_SOCKETS_PER_ORIGIN_MAX,
  }),
}

async function overHttp(request: Request): Promise<Response> {
  request.signal.throwIfAborted()
  const body = await bodyOf(request)
  const isRepeatable = request.method !== 'POST' && body.rest === undefined
  let sent = await send(request, body, 'reuse')
  // The server may close a kept connection just as we use it: on a fresh one there is no such race.
  if ('lost' in sent && sent.lost === 'reusedSocket' && isRepeatable) sent = await send(request, body, 'fresh')
  if ('lost' in sent) throw new TypeError('fetch failed', { cause: sent.cause })
  if (isRedirect(sent.response) && request.redirect === 'follow' && body.first === undefined) {
    const target = new URL(sent.response.headers.get('location')!, request.url)
    await sent.response.body?.cancel()
    return fetch(new Request(target, { method: request.method, headers: request.headers, signal: request.signal }))
  }
  return sent.response
}

/** The first chunk, and the rest when there is one: a body given as bytes is one chunk, so its length is known. */
type Body = {
  readonly first: Uint8Array | undefined
  readonly rest: ReadableStreamDefaultReader<Uint8Array> | undefined
}

async function bodyOf(request: Request): Promise<Body> {
  if (request.body === null) return { first: undefined, rest: undefined }
  const reader = request.body.getReader()
  const first = await reader.read()
  if (first.done) return { first: new Uint8Array(0), rest: undefined }
  if (Number(request.headers.get('content-length')) === first.value.length)
    return { first: first.value, rest: undefined }
  let isDone = false
  reader.closed.then(
    () => (isDone = true),
    () => undefined,
  )
  for (let turn = 0; turn < CLOSED_TURNS && !isDone; turn++) await Promise.resolve()
  return { first: first.value, rest: isDone ? undefined : reader }
}

/** Turns of the microtask queue in which a stream over bytes says that it has ended. */
const CLOSED_TURNS = 4

type Sent = { readonly response: Response } | { readonly lost: 'reusedSocket' | 'connection'; readonly cause: unknown }

function send(request: Request, body: Body, socket: 'reuse' | 'fresh'): Promise<Sent> {
  return new Promise((resolve, reject) => {
    const { signal } = request
    const headers: Record<string, string> = Object.fromEntries(request.headers)
    if (body.first !== undefined && body.rest === undefined) headers['content-length'] ??= String(body.first.length)
    const outgoing = httpRequest(request.url, {
      method: request.method,
      headers,
      agent: socket === 'reuse' ? agent : new Agent(),
      timeout: IDLE_MS_MAX,
    })
    let answered: IncomingMessage | undefined
    const onAbort = (): void => {
      const reason = signal.reason instanceof Error ? signal.reason : new Error(String(signal.reason))
      answered?.destroy(reason)
      outgoing.destroy(reason)
      reject(signal.reason)
    }
    signal.addEventListener('abort', onAbort, { once: true })
    outgoing.once('timeout', () => outgoing.destroy(new Error(`no byte for ${IDLE_MS_MAX} ms`)))
    outgoing.once('close', () => signal.removeEventListener('abort', onAbort))
    outgoing.on('error', (cause) => {
      if (signal.aborted) reject(signal.reason)
      else resolve({ lost: outgoing.reusedSocket ? 'reusedSocket' : 'connection', cause })
    })
    outgoing.once('response', (incoming) => {
      answered = incoming
      try {
        resolve({ response: toResponse(incoming, request) })
      } catch (cause) {
        outgoing.destroy()
        resolve({ lost: 'connection', cause })
      }
    })
    if (body.rest === undefined) outgoing.end(body.first)
    else void pump(body, body.rest, outgoing)
  })
}

async function pump(body: Body, rest: ReadableStreamDefaultReader<Uint8Array>, outgoing: ClientRequest): Promise<void> {
  // Ends a read of a source that gives nothing more, once nobody is there to take it.
  outgoing.once('close', () => void rest.cancel().catch(() => undefined))
  try {
    let isOpen = outgoing.write(body.first!)
    for (;;) {
      if (!isOpen) await drained(outgoing)
      const step = await rest.read()
      if (step.done) break
      isOpen = outgoing.write(step.value)
    }
    outgoing.end()
  } catch (error) {
    outgoing.destroy(error instanceof Error ? error : new Error(String(error)))
    await rest.cancel(error).catch(() => undefined)
  }
}

function drained(outgoing: ClientRequest): Promise<void> {
  return new Promise((resolve, reject) => {
    const onDrain = (): void => {
      outgoing.off('close', onClose)
      resolve()
    }
    const onClose = (): void => {
      outgoing.off('drain', onDrain)
      reject(new Error('the connection is gone'))
    }
    if (outgoing.destroyed) {
      onClose()
      return
    }
    outgoing.once('drain', onDrain)
    outgoing.once('close', onClose)
  })
}

function toResponse(incoming: IncomingMessage, request: Request): Response {
  // Errors reach the reader of the body; without a reader nobody is interested.
  incoming.on('error', () => undefined)
  const headers = new Headers()
  const raw = incoming.rawHeaders
  for (let i = 0; i < raw.length; i += 2) headers.append(raw[i]!, raw[i + 1]!)
  const status = incoming.statusCode!
  const init = { status, statusText: incoming.statusMessage ?? '', headers }
  if (request.method === 'HEAD' || status === 204 || status === 205 || status === 304) {
    incoming.resume()
    return new Response(null, init)
  }
  const body = incomingBody(incoming, { idleMsMax: IDLE_MS_MAX, onCancel: () => void incoming.destroy() })
  return body.withFastArrayBuffer(new Response(body.stream, init))
}

function isRedirect(response: Response): boolean {
  return [301, 302, 303, 307, 308].includes(response.status) && response.headers.has('location')
}
