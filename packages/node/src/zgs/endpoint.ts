import type { Clock, JsonRpcCall, Logger } from '@weightless/core'
import {
  isFailure,
  JSON_BODY_BYTES_MAX,
  jsonRpcError,
  jsonRpcResult,
  openUploadBody,
  SEGMENT_SIZE_BYTES,
  RPC_ANSWER_MS_MAX,
} from '@weightless/core'
import { answer } from '../http/answer.ts'
import { declaredSize, readBody, receiveBody, type ReceivedBody } from '../http/body.ts'
import type { FastBytes } from '../http/fastBytes.ts'
import type { Gate, Place } from '../http/gate.ts'
import type { BodySource } from '../http/service.ts'
import type { SpareBuffers } from '../http/spareBuffers.ts'
import { watchedBody } from '../http/watchedBody.ts'
import { answerBytesOf, callMethod, type RpcMethods } from './compat.ts'
import { faultOf, serverFault } from './fault.ts'
import type { DataOf } from './upload.ts'

/** Questions of official clients are a few hundred bytes: they pass by the queue of segments. */
const SMALL_BODY_BYTES = 64 * 1024
/** All answers of one array together; one alone may be larger. Official clients send no arrays, and a body of 5 KB must not
 *  fetch 60 MB. */
const ANSWERS_CHARS_MAX: number = 4 * 1024 ** 2

/** A hundredth of what an official client waits for an answer. */
const LATE_STEP_MS = 250

export type RpcEndpointDeps = {
  readonly methods: RpcMethods
  readonly gate: Gate
  /** Room for answers that carry segments, until they have left. */
  readonly answers: Gate
  readonly spares: SpareBuffers
  /** For the bytes of whole segments, from their decoding to the answer. */
  readonly segmentBuffers: SpareBuffers
  readonly bytes: FastBytes
  readonly clock: Clock
  readonly logger: Logger
  /** Aborts when the service stops. */
  readonly signal: AbortSignal
}

/**
 * JSON-RPC 2.0 over POST as official clients speak it (spec/storage.md 3.1): HTTP 200 for every answer, errors included,
 * because their transport repeats anything else; the id goes back digit for digit; a body is read only when its bytes fit.
 */
export function createRpcEndpoint(deps: RpcEndpointDeps): (request: Request, source: BodySource) => Promise<Response> {
  const { gate, spares, segmentBuffers, bytes, clock, logger } = deps
  /** Requests that come together are late together: an official client sends some hundred at once. */
  let lateSinceMs = -Infinity
  let late: AbortSignal = deps.signal
  const lateFrom = (nowMs: number): AbortSignal => {
    if (nowMs - lateSinceMs >= LATE_STEP_MS) {
      lateSinceMs = nowMs
      late = clock.deadline(RPC_ANSWER_MS_MAX)
    }
    return late
  }
  return async (request, source) => {
    const signal = AbortSignal.any([request.signal, deps.signal, lateFrom(clock.nowMs())])
    let leave: (() => void) | undefined
    let place: Place | undefined
    try {
      const body = await read(request, source, signal)
      leave = body.leave
      const taken: Uint8Array[] = []
      const { request: opened, dataOf } = openUploadBody(body.body, (sizeBytes) => {
        // A body may hold thousands of small ones.
        if (sizeBytes !== SEGMENT_SIZE_BYTES) return new Uint8Array(sizeBytes)
        const buffer = segmentBuffers.take(sizeBytes)
        taken.push(buffer)
        return buffer
      })
      // Texts and payloads are copies by now.
      body.reuse?.()
      const room = await takeRoom(opened.calls, signal)
      place = room.place
      const answers: string[] = []
      let chars = 0
      let hasFailed = false
      for (const call of opened.calls) {
        const refused = chars > ANSWERS_CHARS_MAX ? ASK_FOR_LESS : bulkOf(call) > 0 ? room.refused : undefined
        const answered = await answerCall(call, { dataOf, refused }, signal)
        hasFailed ||= answered.hasFailed
        const { text } = answered
        if (text === undefined) continue
        answers.push(text)
        chars += text.length
      }
      // Where something failed, a worker or a write that began may still read them.
      if (!hasFailed) for (const buffer of taken) segmentBuffers.give(buffer)
      if (answers.length === 0) {
        place?.leave()
        return answer(null, { status: 204, headers: {} })
      }
      return answerText(opened.isBatch ? `[${answers.join(',')}]` : answers[0]!, place)
    } catch (error) {
      place?.leave()
      return answerText(jsonRpcError('null', errorFields(error, signal)))
    } finally {
      leave?.()
    }
  }

  /** A body that is small, or larger than allowed, needs no room in memory. */
  async function read(
    request: Request,
    source: BodySource,
    signal: AbortSignal,
  ): Promise<Pick<ReceivedBody, 'body'> & Partial<ReceivedBody>> {
    const sizeBytes = declaredSize(request) ?? JSON_BODY_BYTES_MAX
    const options = { sizeBytesMax: JSON_BODY_BYTES_MAX, bytes, signal }
    if (sizeBytes <= SMALL_BODY_BYTES || sizeBytes > JSON_BODY_BYTES_MAX)
      return { body: await readBody(request, options) }
    return await receiveBody(request, { ...options, gate, spares, source })
  }

  /** Room for what these calls will fetch, or the error of those that get none. */
  async function takeRoom(
    calls: readonly JsonRpcCall[],
    signal: AbortSignal,
  ): Promise<{ readonly place?: Place; readonly refused?: unknown }> {
    const sizeBytes = calls.reduce((sum, call) => sum + bulkOf(call), 0)
    if (sizeBytes === 0) return {}
    try {
      const options = { signal, movedBytes: () => 0 }
      const place = await deps.answers.enterWatched(Math.min(sizeBytes, 2 * ANSWERS_CHARS_MAX), options)
      // Until there is an answer, no client is to blame.
      place.keep()
      return { place }
    } catch (error) {
      return { refused: error }
    }
  }

  async function answerCall(
    call: JsonRpcCall,
    { dataOf, refused }: { readonly dataOf: DataOf; readonly refused: unknown },
    signal: AbortSignal,
  ): Promise<{ readonly text: string | undefined; readonly hasFailed: boolean }> {
    if (call.kind === 'fault')
      return { text: jsonRpcError(call.id, errorFields(call.failure, signal)), hasFailed: true }
    const textOf = (write: (id: string) => string): string | undefined =>
      call.id === undefined ? undefined : write(call.id)
    try {
      if (refused !== undefined) throw refused
      const result = await callMethod(deps.methods, call.method, call.params, { dataOf, signal })
      return { text: textOf((id) => jsonRpcResult(id, result)), hasFailed: false }
    } catch (error) {
      const fields = errorFields(error, signal)
      logger.debug('rpc.refused', {
        method: call.method.slice(0, METHOD_LOG_MAX),
        code: fields.code,
        message: fields.message,
        data: fields.data,
      })
      return { text: textOf((id) => jsonRpcError(id, fields)), hasFailed: true }
    }
  }

  function errorFields(error: unknown, signal: AbortSignal): { code: number; message: string; data?: string } {
    const isLate = signal.aborted && !isFailure(error)
    if (!isLate && !isFailure(error) && faultOf(error) !== error) logger.error('rpc.failed', { error })
    const fault = isLate ? serverFault('busy: the answer took too long, send the request again') : faultOf(error)
    return { code: fault.code, message: fault.message, ...(fault.data === undefined ? {} : { data: fault.data }) }
  }
}

const ASK_FOR_LESS = serverFault('the answers of this array are too large: ask for less at once')

function bulkOf(call: JsonRpcCall): number {
  return call.kind === 'request' ? answerBytesOf(call.method) : 0
}

/** A method name in a log line is a stranger's text. */
const METHOD_LOG_MAX = 64

function answerText(text: string, place?: Place): Response {
  const headers = { 'content-type': 'application/json' }
  if (place === undefined) return answer(text, { headers })
  const bytes = new TextEncoder().encode(text)
  return answer(watchedBody([bytes], place), { headers: { ...headers, 'content-length': String(bytes.length) } })
}
