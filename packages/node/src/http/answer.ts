import { forStrangers, isFailure } from '@weightless/core'
import { fail } from '../errors.ts'

/** Browsers of any origin may ask: everything served here is public and nothing is authorised by cookie (spec/users.md P5). */
const CORS = {
  'access-control-allow-origin': '*',
  'access-control-expose-headers':
    'content-length, content-range, accept-ranges, content-disposition, etag, retry-after',
} as const
const PREFLIGHT_SECONDS = '86400'

export function answer(
  body: string | Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array> | null,
  options: AnswerOptions,
): Response {
  return new Response(body, { status: options.status ?? 200, headers: { ...CORS, ...options.headers } })
}
export type AnswerOptions = { readonly status?: number; readonly headers: Readonly<Record<string, string>> }

export function answerJson(value: unknown, status = 200, headers: Readonly<Record<string, string>> = {}): Response {
  return answer(JSON.stringify(value), { status, headers: { 'content-type': 'application/json', ...headers } })
}

/** `OPTIONS` of any path. */
export function answerPreflight(): Response {
  return answer(null, {
    status: 204,
    headers: {
      'access-control-allow-methods': 'GET, HEAD, POST, PUT, OPTIONS',
      'access-control-allow-headers': '*',
      'access-control-max-age': PREFLIGHT_SECONDS,
    },
  })
}

/** The error form of docs/wire.md. Whatever is not a `Failure` is our own bug and is not shown to a stranger. */
export function answerFailure(error: unknown): Response {
  const failure = isFailure(error) ? forStrangers(error) : fail('SERVICE_FAILED', {}, { cause: error })
  const busy = failure.retryable ? { 'retry-after': '1' } : undefined
  return answerJson({ error: failure.toJSON() }, statusOf(failure.code, failure.retryable), busy)
}

const STATUS: Readonly<Record<string, number>> = {
  ROUTE_UNKNOWN: 404,
  ENTRY_UNKNOWN: 404,
  ENTRY_INCOMPLETE: 404,
  SEGMENT_MISSING: 404,
  RECEIPT_UNAVAILABLE: 404,
  CERTIFICATE_UNKNOWN: 404,
  MEMBERSHIP_UNKNOWN: 404,
  METHOD_NOT_ALLOWED: 405,
  CLIENT_TOO_SLOW: 408,
  ENTRY_MISMATCH: 409,
  ENTRY_NOT_FINAL: 409,
  REQUEST_TOO_LARGE: 413,
  NOT_A_HOME: 421,
  SERVER_BUSY: 503,
  SERVICE_STOPPING: 503,
  GATEWAY_FULL: 503,
  EARLY_SPACE_FULL: 503,
  HOLDERS_UNREACHABLE: 503,
  STORE_FULL: 507,
  STORE_CORRUPT: 500,
  SERVICE_FAILED: 500,
}

export function statusOf(code: string, retryable: boolean): number {
  const known = STATUS[code]
  if (known !== undefined) return known
  if (code.startsWith('STORE_')) return 503
  return retryable ? 503 : 400
}
