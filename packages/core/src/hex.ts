import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js'
import { fail, invariant, preview } from './errors.ts'

declare const brand: unique symbol

/** Any `0x`-prefixed lowercase hex of whole bytes. */
export type Hex = `0x${string}`
/** 32 bytes: keccak-256 root of a file's Merkle tree (spec/storage.md 1.3). */
export type Root = Hex & { readonly [brand]: 'Root' }
/** 32 bytes. */
export type TxHash = Hex & { readonly [brand]: 'TxHash' }
/** 20 bytes, lowercase. */
export type Address = Hex & { readonly [brand]: 'Address' }

export function toHex(bytes: Uint8Array): Hex {
  return `0x${bytesToHex(bytes)}`
}

/** Decodes hex that our own code made; for outside input use a `parse…` function. */
export function fromHex(hex: string): Uint8Array {
  return hexToBytes(hex.startsWith('0x') ? hex.slice(2) : hex)
}

export function rootOf(bytes: Uint8Array): Root {
  invariant(bytes.length === 32, 'a root has 32 bytes')
  return toHex(bytes) as Root
}

/** Accepts 0x-prefixed hex in any case (official clients use both) and mints the lowercase form. Throws `ROOT_INVALID`. */
export function parseRoot(value: unknown): Root {
  if (typeof value === 'string' && /^0x[0-9a-fA-F]{64}$/.test(value)) return value.toLowerCase() as Root
  throw fail('ROOT_INVALID', { value: preview(value) })
}

export function parseTxHash(value: unknown): TxHash {
  if (typeof value === 'string' && /^0x[0-9a-fA-F]{64}$/.test(value)) return value.toLowerCase() as TxHash
  throw fail('TX_HASH_INVALID', { value: preview(value) })
}

export function parseAddress(value: unknown): Address {
  if (typeof value === 'string' && /^0x[0-9a-fA-F]{40}$/.test(value)) return value.toLowerCase() as Address
  throw fail('ADDRESS_INVALID', { value: preview(value) })
}

/** Throws `HEX_INVALID` for anything that is not 0x-prefixed hex of whole bytes, at most `sizeBytesMax`. */
export function parseHex(
  value: unknown,
  options: { readonly name: string; readonly sizeBytesMax: number },
): Uint8Array {
  if (
    typeof value === 'string' &&
    value.length <= 2 + 2 * options.sizeBytesMax &&
    value.length % 2 === 0 &&
    /^0x[0-9a-fA-F]*$/.test(value)
  ) {
    return hexToBytes(value.slice(2))
  }
  throw fail('HEX_INVALID', { name: options.name, sizeBytesMax: options.sizeBytesMax, value: preview(value) })
}
