import type { IncomingMessage } from 'node:http'
import { fail } from './errors.ts'
import { incomingBody } from './incomingBody.ts'

/** The web Request of an incoming message. Nothing of the body is read before the handler asks. Throws `REQUEST_INVALID`. */
export function toRequest(incoming: IncomingMessage, options: ToRequestOptions): IncomingRequest {
  const method = incoming.method ?? 'GET'
  const headers = headersOf(incoming)
  const url = urlOf(incoming, options.address)
  const hasBody = method !== 'GET' && method !== 'HEAD' && declaresBody(incoming)
  try {
    if (!hasBody)
      return {
        request: new Request(url, { method, headers, signal: options.signal }),
        receivedBytes: () => 0,
        readInto: undefined,
      }
    const body = incomingBody(incoming, { idleMsMax: options.bodyIdleMsMax })
    const init = { method, headers, signal: options.signal, body: body.stream, duplex: 'half' }
    return {
      request: body.withFastArrayBuffer(new Request(url, init as RequestInit)),
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
  readonly signal: AbortSignal
  /** What stands in for a missing Host header (HTTP/1.0). */
  readonly address: string
  readonly bodyIdleMsMax: number
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
