import { forStrangers, isFailure, jsonRpcCodes } from '@weightless/core'

/** An error as official clients read it: they match code, message and data (spec/storage.md 3.4). */
export class RpcFault extends Error {
  readonly code: number
  readonly data: string | undefined

  constructor(code: number, message: string, data?: string) {
    super(message)
    this.name = 'RpcFault'
    this.code = code
    this.data = data
  }
}

export function invalidParam(name: string, reason: string): RpcFault {
  return new RpcFault(jsonRpcCodes.invalidParams, `Invalid params: ${name}`, reason)
}

export function serverFault(message: string, data?: string): RpcFault {
  return new RpcFault(jsonRpcCodes.server, message, data)
}

/** Whatever a handler threw, in the words of the reference node where it has words for it. */
export function faultOf(error: unknown): RpcFault {
  if (error instanceof RpcFault) return error
  if (!isFailure(error)) return new RpcFault(jsonRpcCodes.internal, 'Internal error')
  const { code, facts } = error
  switch (code) {
    case 'ROOT_INVALID':
      return invalidParam('root', error.message)
    case 'SEGMENT_INDEX_INVALID':
      return invalidParam('index', 'index out of bound')
    case 'SEGMENT_SIZE_INVALID':
      return invalidParam('data', 'invalid data length')
    case 'SEGMENT_PROOF_INVALID':
      return invalidParam('proof', PROOF_REASONS[String(facts['reason'])] ?? 'invalid proof')
    case 'RPC_BODY_INVALID':
      return new RpcFault(jsonRpcCodes.parse, 'Parse error', error.message)
    case 'RPC_REQUEST_INVALID':
      return new RpcFault(jsonRpcCodes.invalidRequest, 'Invalid request', error.message)
    case 'REQUEST_TOO_LARGE':
    case 'RPC_TEXT_TOO_LARGE':
      // The code of the server library of the reference node.
      return new RpcFault(-32701, 'Request is too big', error.message)
    default:
      return serverFault(`${code}: ${error.next}`, forStrangers(error).message)
  }
}

const PROOF_REASONS: Readonly<Record<string, string>> = {
  root: 'validation failed',
  leaf: 'validation failed',
  position: 'validation failed',
  padding: 'invalid proof node value in the padding range',
}
