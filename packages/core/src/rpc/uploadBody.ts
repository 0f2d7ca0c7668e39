import { decodeBase64 } from '../base64.ts'
import { concat } from '../bytes.ts'
import { fail } from '../errors.ts'
import { JSON_TEXT_BYTES_MAX } from '../limits.ts'
import { decodeUtf8, parseJsonRpc, type JsonRpcBody } from './json.ts'

/** Reads a JSON-RPC body that may carry segments as base64 under "data". JSON.parse of one 350 kB string costs more than all the
 *  rest (spec/performance.md 5), so payloads are cut out first where that is safe; the answer is the same either way.
 *  `bufferOf` says where the bytes of a payload that was cut out go. Throws as `parseJsonRpc`, and `RPC_TEXT_TOO_LARGE` for more
 *  than `JSON_TEXT_BYTES_MAX` beside payloads. */
export function openUploadBody(body: Uint8Array, bufferOf?: BufferOf): UploadBody {
  const scan = scanUploadBody(body, bufferOf)
  if (scan === undefined) {
    if (body.length > JSON_TEXT_BYTES_MAX) {
      throw fail('RPC_TEXT_TOO_LARGE', { bodyBytes: body.length, textBytesMax: JSON_TEXT_BYTES_MAX })
    }
    return {
      request: parseJsonRpc(body),
      dataOf: (data) => (typeof data === 'string' ? decodeBase64(data) : undefined),
    }
  }
  return {
    request: parseJsonRpc(scan.rest),
    dataOf: (data) => (typeof data === 'number' ? scan.payloads[data] : undefined),
  }
}

export type BufferOf = (sizeBytes: number) => Uint8Array

export type UploadBody = {
  readonly request: JsonRpcBody
  /** The bytes of a "data" value found in the params of `request` (which is opaque: pass it as it is). `undefined` when it is
   *  no base64 string. */
  dataOf(data: unknown): Uint8Array | undefined
}

/** Cuts the base64 strings under any key "data" out of a JSON text: `rest` is the text with the number i in the place of payload i,
 *  so that JSON.parse(rest) is JSON.parse(body) but for those values, whatever the body is. `undefined` on anything unexpected
 *  (a "data" that is no string or no strict base64, an escape in a key, too deep, not UTF-8): then parse the whole body. Also
 *  `undefined` when more than `JSON_TEXT_BYTES_MAX` would be left: then parse nothing. */
export function scanUploadBody(body: Uint8Array, bufferOf?: BufferOf): UploadScan | undefined {
  const payloads: Uint8Array[] = []
  const parts: Uint8Array[] = []
  const isObject: boolean[] = []
  let copied = 0
  let cutBytes = 0
  let isKeyNext = false
  let at = 0
  while (at < body.length) {
    if (at - cutBytes > JSON_TEXT_BYTES_MAX) return undefined
    const byte = body[at]!
    if (byte === QUOTE) {
      const end = endOfString(body, at)
      if (end === undefined) return undefined
      if (!isKeyNext) {
        at = end
        continue
      }
      isKeyNext = false
      // An escape could spell "data" in another way.
      if (hasBackslash(body, at, end)) return undefined
      const colon = skipSpace(body, end)
      if (body[colon] !== COLON) return undefined
      const value = skipSpace(body, colon + 1)
      if (!isDataKey(body, at, end)) {
        at = value
        continue
      }
      if (body[value] !== QUOTE) return undefined
      const close = body.indexOf(QUOTE, value + 1)
      const payload = close === -1 ? undefined : decodeBase64(body.subarray(value + 1, close), bufferOf)
      if (payload === undefined) return undefined
      // Spaces, so that the number cannot join with stray digits behind a broken string.
      parts.push(body.subarray(copied, value), new TextEncoder().encode(` ${payloads.length} `))
      payloads.push(payload)
      at = copied = close + 1
      cutBytes += at - value
      continue
    }
    if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
      if (isObject.length === DEPTH_MAX) return undefined
      isObject.push(byte === OPEN_BRACE)
      isKeyNext = byte === OPEN_BRACE
    } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
      isObject.pop()
      isKeyNext = false
    } else if (byte === COMMA) {
      isKeyNext = isObject.at(-1) === true
    }
    at++
  }
  if (at - cutBytes > JSON_TEXT_BYTES_MAX) return undefined
  parts.push(body.subarray(copied))
  const rest = decodeUtf8(concat(parts))
  return rest === undefined ? undefined : { rest, payloads }
}

export type UploadScan = { readonly rest: string; readonly payloads: readonly Uint8Array[] }

/** A request of an official client is five levels deep. */
const DEPTH_MAX = 32
const QUOTE = 0x22
const COMMA = 0x2c
const COLON = 0x3a
const OPEN_BRACKET = 0x5b
const BACKSLASH = 0x5c
const CLOSE_BRACKET = 0x5d
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d
const DATA_KEY: Uint8Array = new TextEncoder().encode('"data"')

function isDataKey(body: Uint8Array, at: number, end: number): boolean {
  return end - at === DATA_KEY.length && DATA_KEY.every((byte, i) => body[at + i] === byte)
}

/** Behind the closing quote; `undefined` when there is none. indexOf is native for any byte array, and memchr for a Buffer. */
function endOfString(body: Uint8Array, at: number): number | undefined {
  for (let quote = body.indexOf(QUOTE, at + 1); quote !== -1; quote = body.indexOf(QUOTE, quote + 1)) {
    let backslashes = 0
    while (body[quote - 1 - backslashes] === BACKSLASH) backslashes++
    if (backslashes % 2 === 0) return quote + 1
  }
  return undefined
}

function hasBackslash(body: Uint8Array, at: number, end: number): boolean {
  for (let i = at; i < end; i++) if (body[i] === BACKSLASH) return true
  return false
}

function skipSpace(body: Uint8Array, from: number): number {
  let at = from
  while (body[at] === 0x20 || body[at] === 0x0a || body[at] === 0x0d || body[at] === 0x09) at++
  return at
}
