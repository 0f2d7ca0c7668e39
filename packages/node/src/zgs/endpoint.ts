import type { Clock, JsonRpcCall, Logger } from '@weightless/core'
import {
  isFailure,
  JSON_BODY_BYTES_MAX,
  jsonRpcError,
  jsonRpcResult,
  openUploadBody,
  RPC_ANSWER_MS_MAX,
} from '@weightless/core'
import { answer } from '../http/answer.ts'
import { declaredSize, readBody, receiveBody, type ReceivedBody } from '../http/body.ts'
import type { FastBytes } from '../http/fastBytes.ts'
import type { Gate } from '../http/gate.ts'
import type { BodySource } from '../http/service.ts'
import type { SpareBuffers } from '../http/spareBuffers.ts'
import { callMethod, type RpcMethods } from './compat.ts'
import { faultOf, serverFault } from './fault.ts'
import type { DataOf } from './upload.ts'

/** Questions of official clients are a few hundred bytes: they pass by the queue of segments. */
const SMALL_BODY_BYTES = 64 * 1024

export type RpcEndpointDeps = {
  readonly methods: RpcMethods
  readonly gate: Gate
  readonly spares: SpareBuffers
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
  const { gate, spares, bytes, clock, logger } = deps
  return async (request, source) => {
    const late = clock.deadline(RPC_ANSWER_MS_MAX)
    const signal = AbortSignal.any([request.signal, deps.signal, late])
    let leave: (() => void) | undefined
    try {
      const body = await read(request, source, signal)
      leave = body.leave
      const { request: opened, dataOf } = openUploadBody(body.body)
      // Texts and payloads are copies by now.
      body.reuse?.()
      const answers: string[] = []
      for (const call of opened.calls) {
        const text = await answerCall(call, dataOf, signal)
        if (text !== undefined) answers.push(text)
      }
      if (answers.length === 0) return answer(null, { status: 204, headers: {} })
      return answerText(opened.isBatch ? `[${answers.join(',')}]` : answers[0]!)
    } catch (error) {
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

  async function answerCall(call: JsonRpcCall, dataOf: DataOf, signal: AbortSignal): Promise<string | undefined> {
    if (call.kind === 'fault') return jsonRpcError(call.id, errorFields(call.failure, signal))
    try {
      const result = await callMethod(deps.methods, call.method, call.params, { dataOf, signal })
      return call.id === undefined ? undefined : jsonRpcResult(call.id, result)
    } catch (error) {
      const fields = errorFields(error, signal)
      logger.debug('rpc.refused', {
        method: call.method.slice(0, METHOD_LOG_MAX),
        code: fields.code,
        message: fields.message,
        data: fields.data,
      })
      return call.id === undefined ? undefined : jsonRpcError(call.id, fields)
    }
  }

  function errorFields(error: unknown, signal: AbortSignal): { code: number; message: string; data?: string } {
    const isLate = signal.aborted && !isFailure(error)
    if (!isLate && !isFailure(error) && faultOf(error) !== error) logger.error('rpc.failed', { error })
    const fault = isLate ? serverFault('busy: the answer took too long, send the request again') : faultOf(error)
    return { code: fault.code, message: fault.message, ...(fault.data === undefined ? {} : { data: fault.data }) }
  }
}

/** A method name in a log line is a stranger's text. */
const METHOD_LOG_MAX = 64

function answerText(text: string): Response {
  return answer(text, { headers: { 'content-type': 'application/json' } })
}
