import { fail, type Failure } from '../errors.ts'
import { RPC_BATCH_MAX, RPC_ID_CHARS_MAX } from '../limits.ts'

/** Reads a JSON-RPC 2.0 request body: one object, or an array of at most `callCountMax` (`RPC_BATCH_MAX`). Throws `RPC_BODY_INVALID` (code -32700)
 *  for what is not JSON in UTF-8, and `RPC_REQUEST_INVALID` (-32600) for an empty or too long array. An element that is no
 *  request becomes a `fault`, so that the others of an array get their answers. */
export function parseJsonRpc(
  body: Uint8Array | string,
  { callCountMax = RPC_BATCH_MAX }: { readonly callCountMax?: number } = {},
): JsonRpcBody {
  const text = typeof body === 'string' ? body : decodeUtf8(body)
  if (text === undefined) throw fail('RPC_BODY_INVALID', { reason: 'not UTF-8', bodyBytes: body.length })
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw fail('RPC_BODY_INVALID', { reason: 'not JSON', bodyChars: text.length }, { cause })
  }
  const isBatch = Array.isArray(value)
  const items: readonly unknown[] = Array.isArray(value) ? value : [value]
  if (items.length === 0) throw fail('RPC_REQUEST_INVALID', { reason: 'the array is empty' })
  if (items.length > callCountMax) {
    throw fail('RPC_REQUEST_INVALID', {
      reason: 'too many requests',
      requestCount: items.length,
      requestsMax: callCountMax,
    })
  }
  const ids = idTokens(text, isBatch ? 2 : 1)
  return { isBatch, calls: items.map((item, i) => callOf(item, ids.get(i))) }
}

export type JsonRpcBody = { readonly isBatch: boolean; readonly calls: readonly JsonRpcCall[] }

export type JsonRpcCall =
  | {
      readonly kind: 'request'
      /** The JSON text of the id as it came, to be echoed digit for digit: official clients use integers beyond 2^53
       *  (spec/storage.md 3.1). `undefined` for a notification, which gets no answer. */
      readonly id: string | undefined
      readonly method: string
      /** `[]` when absent or null. */
      readonly params: JsonRpcParams
    }
  | { readonly kind: 'fault'; readonly id: string; readonly failure: Failure }

export type JsonRpcParams = readonly unknown[] | { readonly [name: string]: unknown }

/** Codes of JSON-RPC 2.0 and of the reference node (spec/storage.md 3.4). */
export const jsonRpcCodes = {
  parse: -32700,
  invalidRequest: -32600,
  methodNotFound: -32601,
  invalidParams: -32602,
  internal: -32603,
  server: -32000,
} as const

/** An answer's JSON text; `id` is the token of the request. `result: undefined` becomes null: official clients die of a missing
 *  key (spec/storage.md 11.1, 4). */
export function jsonRpcResult(id: string, result: unknown): string {
  return `{"jsonrpc":"2.0","result":${JSON.stringify(result) ?? 'null'},"id":${id}}`
}

/** An error answer's JSON text; `id` is 'null' where the request's own could not be read. */
export function jsonRpcError(
  id: string,
  error: { readonly code: number; readonly message: string; readonly data?: unknown },
): string {
  return `{"jsonrpc":"2.0","error":${JSON.stringify(error)},"id":${id}}`
}

/** Strict UTF-8, a byte order mark kept as a character; `undefined` for bytes that are none. */
export function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return undefined
  }
}

function callOf(item: unknown, id: string | undefined): JsonRpcCall {
  const fault = (reason: string, faultId = 'null'): JsonRpcCall => ({
    kind: 'fault',
    id: faultId,
    failure: fail('RPC_REQUEST_INVALID', { reason }),
  })
  if (typeof item !== 'object' || item === null || Array.isArray(item)) return fault('not an object')
  const request = item as { readonly [name: string]: unknown }
  const idKind = request['id'] === null ? 'null' : typeof request['id']
  if (id !== undefined && !['string', 'number', 'null'].includes(idKind))
    return fault('the id is no string, number or null')
  if (id !== undefined && id.length > RPC_ID_CHARS_MAX)
    return fault(`the id is longer than ${RPC_ID_CHARS_MAX} characters`)
  if (request['jsonrpc'] !== '2.0') return fault('jsonrpc is not "2.0"', id)
  const { method, params } = request
  if (typeof method !== 'string') return fault('the method is no string', id)
  if (params === undefined || params === null) return { kind: 'request', id, method, params: [] }
  if (typeof params !== 'object') return fault('params is no array and no object', id)
  return { kind: 'request', id, method, params: params as JsonRpcParams }
}

/** The text of each "id" value in the objects at `depth` (1: the body itself, 2: elements of an array), by position in the array;
 *  the last of equal keys wins, as in JSON.parse. `text` is known to be JSON, so brackets match and strings end. Strings are
 *  skipped by indexOf: a body is nearly all payload. */
function idTokens(text: string, depth: number): Map<number, string> {
  const ids = new Map<number, string>()
  let level = 0
  let element = 0
  for (let at = 0; at < text.length; at++) {
    const character = text[at]
    if (character === '{' || character === '[') level++
    else if (character === '}' || character === ']') level--
    else if (character === ',' && level === depth - 1) element++
    else if (character === '"') {
      const end = endOfString(text, at)
      const colon = skipSpace(text, end)
      if (level === depth && text[colon] === ':' && JSON.parse(text.slice(at, end)) === 'id') {
        const from = skipSpace(text, colon + 1)
        const to = endOfScalar(text, from)
        ids.set(element, text.slice(from, to))
        // A string is passed over here; an object or array is walked through, its token is never used.
        at = to - 1
      } else {
        at = end - 1
      }
    }
  }
  return ids
}

/** Behind the closing quote of the string that opens at `at`. */
function endOfString(text: string, at: number): number {
  for (let quote = text.indexOf('"', at + 1); ; quote = text.indexOf('"', quote + 1)) {
    let backslashes = 0
    while (text[quote - 1 - backslashes] === '\\') backslashes++
    if (backslashes % 2 === 0) return quote + 1
  }
}

/** Behind a string, number or literal; `from` itself for an object or array. */
function endOfScalar(text: string, from: number): number {
  if (text[from] === '"') return endOfString(text, from)
  let to = from
  while (/[-+.0-9a-zA-Z]/.test(text.charAt(to))) to++
  return to
}

function skipSpace(text: string, from: number): number {
  let at = from
  while (text[at] === ' ' || text[at] === '\n' || text[at] === '\r' || text[at] === '\t') at++
  return at
}
