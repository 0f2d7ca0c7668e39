import type { Hex } from '@weightless/core'

/** An error that a chain answers over JSON-RPC; a contract's own has code 3 and its data. */
export class RpcFault extends Error {
  readonly code: number
  readonly data: Hex | undefined
  constructor(code: number, message: string, data?: Hex) {
    super(message)
    this.code = code
    this.data = data
  }
}
