import { keccak256 } from '@weightless/kernels'
import {
  fromHex,
  parseAddress,
  parseHex,
  parseTxHash,
  toHex,
  type Address,
  type Hex,
  type TxHash,
} from '@weightless/core'
import { parseTransaction } from 'viem'
import { fail } from './errors.ts'
import type { Call, Fees } from './signer.ts'

/** A transaction that may be out, as plain JSON: enough to find out what became of it, in another process too. */
export type PendingTransaction =
  | {
      readonly by: 'key'
      readonly from: Address
      readonly nonce: number
      /** Signed bytes: sending them again can never pay twice. */
      readonly raw: Hex
      readonly txHash: TxHash
      /** The same call under the same nonce with lower fees: any of them may be mined, and only one. */
      readonly earlier: readonly TxHash[]
    }
  | {
      readonly by: 'wallet'
      readonly from: Address
      /** Absent until the wallet has told it: it may have sent or not. */
      readonly txHash?: TxHash
    }
export type SignedTransaction = Extract<PendingTransaction, { readonly by: 'key' }>

/** A signed transaction with the calldata of a full batch stays below this. */
export const RAW_TRANSACTION_BYTES_MAX: number = 1024 ** 2
/** Each raise is at least an eighth: after these a fee has grown two and a half times, and FEE_PER_GAS_WEI_MAX ends it anyway. */
export const EARLIER_MAX = 8

/** The hashes under which it may be mined, the latest first. */
export function hashesOf(pending: PendingTransaction): readonly TxHash[] {
  if (pending.by === 'key') return [pending.txHash, ...pending.earlier]
  return pending.txHash === undefined ? [] : [pending.txHash]
}

/** What was signed: the signed bytes are the only source, so that nothing can contradict them. */
export type SignedCall = Call & {
  readonly chainId: number
  readonly nonce: number
  readonly gas: bigint
  readonly fees: Fees
}

/** Throws `STEP_INVALID` for bytes that are no transaction of ours. */
export function callOf({ raw }: Pick<SignedTransaction, 'raw'>): SignedCall {
  try {
    const {
      to,
      data = '0x',
      value = 0n,
      chainId,
      nonce = 0,
      gas = 0n,
      gasPrice,
      maxFeePerGas,
      maxPriorityFeePerGas,
    } = parseTransaction(raw)
    if (chainId === undefined) throw new Error('bound to no chain')
    return {
      to: parseAddress(to),
      data,
      valueWei: value,
      chainId,
      nonce,
      gas,
      fees:
        gasPrice === undefined
          ? {
              type: 'eip1559',
              maxFeePerGasWei: maxFeePerGas ?? 0n,
              maxPriorityFeePerGasWei: maxPriorityFeePerGas ?? 0n,
            }
          : { type: 'legacy', gasPriceWei: gasPrice },
    }
  } catch (cause) {
    throw fail('STEP_INVALID', { reason: 'the signed bytes are no transaction' }, { cause })
  }
}

/** Strict and bounded: it comes from a file or a browser's storage. Throws `STEP_INVALID`. */
export function parsePendingTransaction(value: unknown): PendingTransaction {
  const { by, from, nonce, raw, txHash, earlier } = (value ?? {}) as { readonly [name: string]: unknown }
  try {
    if (by === 'wallet') {
      return { by, from: parseAddress(from), ...(txHash === undefined ? {} : { txHash: parseTxHash(txHash) }) }
    }
    if (by !== 'key' || !Number.isSafeInteger(nonce) || !Array.isArray(earlier) || earlier.length > EARLIER_MAX)
      throw new Error('wrong fields')
    const bytes = parseHex(raw, { name: 'raw', sizeBytesMax: RAW_TRANSACTION_BYTES_MAX })
    const signed: SignedTransaction = {
      by,
      from: parseAddress(from),
      nonce: nonce as number,
      raw: toHex(bytes),
      txHash: parseTxHash(txHash),
      earlier: earlier.map((hash) => parseTxHash(hash)),
    }
    if (hashOfRaw(signed.raw) !== signed.txHash) throw new Error('the hash is not that of the signed bytes')
    if (callOf(signed).nonce !== signed.nonce) throw new Error('the nonce is not that of the signed bytes')
    return signed
  } catch (cause) {
    throw fail('STEP_INVALID', { field: 'transaction', reason: (cause as Error).message }, { cause })
  }
}

export function hashOfRaw(raw: Hex): TxHash {
  return parseTxHash(toHex(keccak256(fromHex(raw))))
}
