import { flowAbi, marketAbi, storageRegistryAbi } from '@weightless/contracts'
import { isFailure, type Failure, type Hex } from '@weightless/core'
import { decodeErrorResult, type Abi } from 'viem'

/** Errors that a call of ours can end with: the contracts' own, and Solidity's Error(string) and Panic(uint256). */
const errors: Abi = [...flowAbi, ...marketAbi, ...storageRegistryAbi].filter((item) => item.type === 'error')

/** The reason of a reverted call for a person: `NotEnoughFee(1, 2, 3)`, a revert string, or what the endpoint said. */
export function revertReason(failure: Failure): string {
  const { data, message } = failure.facts
  if (typeof data === 'string' && data.length >= 10) {
    try {
      const { errorName, args } = decodeErrorResult({ abi: errors, data: data as Hex })
      const values = (args ?? []).map(String).join(', ')
      return errorName === 'Error' ? values : `${errorName}(${values})`
    } catch {
      return `unknown error ${data.slice(0, 10)}`
    }
  }
  return typeof message === 'string' && message !== '' ? message : 'no reason given'
}

/** True when the endpoint says that the contract refused, not that the endpoint or the request was at fault. */
export function isRevert(error: unknown): error is Failure {
  if (!isFailure(error, 'RPC_ERROR')) return false
  const { rpcCode, message, data } = error.facts
  // 3 is geth's code for a revert with data; others say it in words.
  return (
    rpcCode === 3 ||
    (typeof data === 'string' && data.length >= 10) ||
    /revert|invalid opcode|out of gas/i.test(String(message))
  )
}
