import type { IncomingMessage } from 'node:http'
import { fail } from './errors.ts'
import { incomingBody, type IncomingBody } from './incomingBody.ts'

/** The web Request of an incoming message. Nothing of the body is read before the handler asks. Throws `REQUEST_INVALID`. */
export function toRequest(incoming: IncomingMessage, options: ToRequestOptions): IncomingRequest {
  const method = incoming.method ?? 'GET'
  const headers = headersOf(incoming)
  const url = urlOf(incoming, options.address)
  const hasBody = method !== 'GET' && method !== 'HEAD' && declaresBody(incoming)
  try {
    if (!hasBody)
      return {
        request: new Request(url, { method, headers, signal: options.signal() }),
        receivedBytes: () => 0,
        readInto: undefined,
      }
    const body = incomingBody(incoming, { idleMsMax: options.bodyIdleMsMax })
    const makeWhole = (): Request => {
      const init = { method, headers, signal: options.signal(), body: body.stream, duplex: 'half' }
      return body.withFastArrayBuffer(new Request(url, init as RequestInit))
    }
    // What the platform might refuse, or write differently, it is asked for at once.
    const isPlain = method === 'POST' || method === 'PUT'
    return {
      request: isPlain ? lightRequest({ method, url, headers, ...options, body }, makeWhole) : makeWhole(),
      receivedBytes: body.receivedBytes,
      readInto: body.readInto,
    }
  } catch (cause) {
    throw fail('REQUEST_INVALID', {}, { cause })
  }
}

export type IncomingRequest = {
  readonly request: Request
  receivedBytes(): number
  readonly readInto: ((target: Uint8Array) => Promise<number>) | undefined
}
export type ToRequestOptions = {
  /** Asked for when somebody needs it. */
  readonly signal: () => AbortSignal
  /** What stands in for a missing Host header (HTTP/1.0). */
  readonly address: string
  readonly bodyIdleMsMax: number
}

type LightParts = {
  readonly method: string
  readonly url: string
  readonly headers: Headers
  readonly signal: () => AbortSignal
  readonly body: Pick<IncomingBody, 'arrayBuffer'>
}

/** A Request that is made only when somebody asks for more than can be had without it: one with a stream and a signal of its own
 *  is some 10 KB of objects that outlive a wait (a tenth of what the gateway's main thread did for an official upload). */
function lightRequest(parts: LightParts, makeWhole: () => Request): Request {
  let whole: Request | undefined
  const wholeOf = (): Request => (whole ??= makeWhole())
  const light: Record<string, unknown> = Object.create(FORWARDERS, {
    whole: { get: wholeOf },
    method: { value: parts.method },
    url: { value: parts.url },
    headers: { value: parts.headers },
    signal: { get: () => whole?.signal ?? parts.signal() },
    arrayBuffer: { value: () => parts.body.arrayBuffer() ?? wholeOf().arrayBuffer() },
  }) as Record<string, unknown>
  return light as unknown as Request
}

/** All that a Request has, from the one behind it. */
const FORWARDERS: object = Object.create(
  Request.prototype,
  Object.fromEntries(
    Object.entries(Object.getOwnPropertyDescriptors(Request.prototype))
      .filter(([name]) => name !== 'constructor')
      .map(([name, { value }]) => [
        name,
        typeof value === 'function' ? { value: forwardCall(name) } : { get: forwardGet(name) },
      ]),
  ),
) as object

type Light = { readonly whole: Record<string, unknown> }

function forwardGet(name: string): (this: Light) => unknown {
  return function () {
    return this.whole[name]
  }
}

function forwardCall(name: string): (this: Light, ...args: unknown[]) => unknown {
  return function (...args) {
    return (this.whole[name] as (...given: unknown[]) => unknown)(...args)
  }
}

function headersOf(incoming: IncomingMessage): Headers {
  const headers = new Headers()
  const raw = incoming.rawHeaders
  try {
    for (let i = 0; i < raw.length; i += 2) headers.append(raw[i]!, raw[i + 1]!)
  } catch (cause) {
    throw fail('REQUEST_INVALID', { part: 'headers' }, { cause })
  }
  return headers
}

function urlOf(incoming: IncomingMessage, address: string): string {
  const target = incoming.url ?? '/'
  const host = incoming.headers.host
  const origin = host === undefined || host === '' ? address : `http://${host}`
  try {
    // A target in absolute form (a proxy's) keeps its path only: the request came to us, whatever host it names.
    const path = target.startsWith('/') ? target : target === '*' ? '/' : pathOfAbsolute(target)
    const parsed = new URL(origin)
    if (parsed.pathname !== '/' || parsed.search !== '' || parsed.username !== '') throw new Error('not an origin')
    return new URL(parsed.origin + path).href
  } catch (cause) {
    throw fail('REQUEST_INVALID', { part: 'target' }, { cause })
  }
}

function pathOfAbsolute(target: string): string {
  const parsed = new URL(target)
  if (parsed.protocol !== 'http:' && parsed.protocol !== 'https:') throw new Error('not http')
  return parsed.pathname + parsed.search
}

function declaresBody(incoming: IncomingMessage): boolean {
  const length = incoming.headers['content-length']
  return incoming.headers['transfer-encoding'] !== undefined || (length !== undefined && length !== '0')
}
