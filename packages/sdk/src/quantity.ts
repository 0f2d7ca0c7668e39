import { preview } from '@weightless/core'
import { fail } from './errors.ts'

/** JSON-RPC quantities: 0x-hex without leading zeros, at most 256 bits. Throws `RPC_ANSWER_INVALID`. */
export function parseQuantity(value: unknown, name: string): bigint {
  if (typeof value === 'string' && /^0x[0-9a-fA-F]{1,64}$/.test(value)) return BigInt(value)
  throw fail('RPC_ANSWER_INVALID', { field: name, value: preview(value) })
}

/** A quantity that counts something: it fits a number exactly. */
export function parseCount(value: unknown, name: string): number {
  const count = Number(parseQuantity(value, name))
  if (Number.isSafeInteger(count)) return count
  throw fail('RPC_ANSWER_INVALID', { field: name, value: preview(value) })
}

export function toQuantity(value: bigint | number): `0x${string}` {
  return `0x${value.toString(16)}`
}
