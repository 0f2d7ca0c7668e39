import { secp256k1 } from '@noble/curves/secp256k1.js'
import { keccak256 } from '@weightless/kernels'
import { concat } from '../bytes.ts'
import { signDigest } from '../crypto/signature.ts'
import { fail, invariant, preview } from '../errors.ts'
import { fromHex, toHex, type Address, type Hex, type Root } from '../hex.ts'
import { HASH_SIZE_BYTES, SLOT_COUNT_MAX } from '../limits.ts'
import type { Receipt } from '../types.ts'
import { uintWord, word } from './abiWords.ts'
import { addressOfPublicKey, createKnownSigners } from './knownSigners.ts'

export type UnsignedReceipt = Omit<Receipt, 'signer' | 'signature'>

/** The EIP-712 digest that a holder signs (docs/wire.md). */
export function receiptDigest(receipt: UnsignedReceipt): Uint8Array {
  const message = keccak256(
    concat([
      receiptType(),
      uintWord(BigInt(receipt.registryVersion)),
      fromHex(receipt.dataRoot),
      uintWord(BigInt(receipt.entrySeq)),
      keccak256(fromHex(receipt.slots)),
      fromHex(receipt.fingerprintRoot),
      uintWord(BigInt(receipt.blockNumber)),
    ]),
  )
  return keccak256(concat([Uint8Array.of(0x19, 0x01), domainSeparator(receipt), message]))
}

/** One process speaks of one registry: the hash of the last one is remembered. */
let lastDomain: { readonly chainId: number; readonly registry: Address; readonly hash: Uint8Array } | undefined

function domainSeparator({ chainId, registry }: UnsignedReceipt): Uint8Array {
  if (lastDomain?.chainId === chainId && lastDomain.registry === registry) return lastDomain.hash
  const words = [uintWord(BigInt(chainId)), word(fromHex(registry))]
  const hash = keccak256(concat([domainType(), domainName(), domainVersion(), ...words]))
  lastDomain = { chainId, registry, hash }
  return hash
}

/** Signs with a 32-byte secp256k1 key, whose address costs as much as a signature and is computed once. A holder that signs
 *  twice gives one receipt. */
export function receiptSigner(privateKey: Uint8Array): ReceiptSigner {
  const address = addressOfPrivateKey(privateKey)
  return {
    address,
    sign(unsigned) {
      checkContent(unsigned)
      const signature = signDigest(receiptDigest(unsigned), privateKey)
      const { chainId, registry, registryVersion, dataRoot, entrySeq, slots, fingerprintRoot, blockNumber } = unsigned
      const content = { chainId, registry, registryVersion, dataRoot, entrySeq, slots, fingerprintRoot, blockNumber }
      return { ...content, signer: address, signature: toHex(signature) }
    },
  }
}

/** `sign` throws `RECEIPT_INVALID` for content that no verifier would accept. */
export type ReceiptSigner = { readonly address: Address; sign(unsigned: UnsignedReceipt): Receipt }

export function signReceipt(unsigned: UnsignedReceipt, privateKey: Uint8Array): Receipt {
  return receiptSigner(privateKey).sign(unsigned)
}

/** Checks the content and that `signer` signed it: s in the lower half, v 27 or 28, so that one receipt has one form.
 *  Whether the signer is a member is for the caller to check (`protectionOf` and `verifyCertificate` do). Throws `RECEIPT_INVALID`. */
export function verifyReceipt(receipt: Receipt): void {
  checkContent(receipt)
  const refuse = (reason: string) =>
    fail('RECEIPT_INVALID', { reason, signer: receipt.signer, dataRoot: receipt.dataRoot, entrySeq: receipt.entrySeq })
  if (!isHexOf(receipt.signer, 20)) throw refuse('signer is no address')
  if (!isHexOf(receipt.signature, SIGNATURE_SIZE_BYTES)) throw refuse('the signature has not 65 bytes')
  const bytes = fromHex(receipt.signature)
  const v = bytes[64]!
  if (v !== 27 && v !== 28) throw refuse('v is neither 27 nor 28')
  const signed = { digest: receiptDigest(receipt), compact: bytes.subarray(0, 64), recovery: v === 27 ? 0 : 1 } as const
  const signer = knownSigners.signerOf(signed, receipt.signer)
  if (signer === undefined) throw refuse('no key made this signature, or s is in the upper half')
  if (signer !== receipt.signer) throw refuse('another key made this signature')
}

/** A memory of keys, for speed alone: answers are the same without it. */
const knownSigners = createKnownSigners()

/** Reads a receipt from outside: exact types, hex in any case, all sizes bounded; fields it does not know are dropped. The
 *  signature is not checked here. Throws `RECEIPT_INVALID`. */
export function receiptFromJson(value: unknown): Receipt {
  if (typeof value !== 'object' || value === null)
    throw fail('RECEIPT_INVALID', { reason: 'no object', value: preview(value) })
  const fields = value as { readonly [name: string]: unknown }
  const number = (name: string): number => {
    const field = fields[name]
    if (typeof field === 'number') return field
    throw fail('RECEIPT_INVALID', { reason: `${name} is no number`, value: preview(field) })
  }
  const hex = (name: string, sizeBytesMax: number): Hex => {
    const field = fields[name]
    if (typeof field === 'string' && field.length <= 2 + 2 * sizeBytesMax && /^0x(?:[0-9a-fA-F]{2})*$/.test(field)) {
      return field.toLowerCase() as Hex
    }
    throw fail('RECEIPT_INVALID', {
      reason: `${name} is no hex of at most ${sizeBytesMax} bytes`,
      value: preview(field),
    })
  }
  const receipt: Receipt = {
    chainId: number('chainId'),
    registry: hex('registry', 20) as Address,
    registryVersion: number('registryVersion'),
    dataRoot: hex('dataRoot', HASH_SIZE_BYTES) as Root,
    entrySeq: number('entrySeq'),
    slots: hex('slots', SLOT_COUNT_MAX / 8),
    fingerprintRoot: hex('fingerprintRoot', HASH_SIZE_BYTES),
    blockNumber: number('blockNumber'),
    signer: hex('signer', 20) as Address,
    signature: hex('signature', SIGNATURE_SIZE_BYTES),
  }
  checkContent(receipt)
  if (!isHexOf(receipt.signer, 20)) throw fail('RECEIPT_INVALID', { reason: 'signer is no address' })
  if (!isHexOf(receipt.signature, SIGNATURE_SIZE_BYTES))
    throw fail('RECEIPT_INVALID', { reason: 'the signature has not 65 bytes' })
  return receipt
}

/** Slots named by a bitmap, ascending. */
export function slotsOf(bitmap: Hex): readonly number[] {
  const slots: number[] = []
  fromHex(bitmap).forEach((byte, i) => {
    for (let bit = 0; bit < 8; bit++) if ((byte >> bit) & 1) slots.push(8 * i + bit)
  })
  return slots
}

/** The shortest bitmap of these slots: bit i of byte floor(i / 8), least significant first. */
export function bitmapOf(slots: readonly number[]): Hex {
  const highest = Math.max(-1, ...slots)
  const bytes = new Uint8Array(Math.floor(highest / 8) + 1)
  for (const slot of slots) {
    invariant(Number.isInteger(slot) && slot >= 0 && slot < SLOT_COUNT_MAX, 'a slot is a number below 256')
    bytes[Math.floor(slot / 8)]! |= 1 << (slot % 8)
  }
  return toHex(bytes)
}

/** The last 20 bytes of keccak256 of the public key. The key is 32 bytes, a valid secp256k1 scalar. */
export function addressOfPrivateKey(privateKey: Uint8Array): Address {
  return addressOfPublicKey(secp256k1.getPublicKey(privateKey, false))
}

const SIGNATURE_SIZE_BYTES = 65
const domainType = hashOfText('EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)')
const domainName = hashOfText('Weightless Storage')
const domainVersion = hashOfText('1')
const receiptType = hashOfText(
  'Receipt(uint64 registryVersion,bytes32 dataRoot,uint64 entrySeq,bytes slots,bytes32 fingerprintRoot,uint64 blockNumber)',
)

/** Hashed at first use, once. */
function hashOfText(text: string): () => Uint8Array {
  let hash: Uint8Array | undefined
  return () => (hash ??= keccak256(new TextEncoder().encode(text)))
}

/** What every receipt must look like, signed or not; both signer and verifier check it. */
function checkContent(receipt: UnsignedReceipt): void {
  for (const name of ['chainId', 'registryVersion', 'entrySeq', 'blockNumber'] as const) {
    if (!Number.isSafeInteger(receipt[name]) || receipt[name] < 0) {
      throw fail('RECEIPT_INVALID', { reason: `${name} is no whole number`, value: String(receipt[name]) })
    }
  }
  for (const [name, sizeBytes] of CONTENT_SIZES) {
    if (!isHexOf(receipt[name], sizeBytes)) {
      throw fail('RECEIPT_INVALID', { reason: `${name} has not ${sizeBytes} bytes`, value: preview(receipt[name]) })
    }
  }
  // One bitmap for one set of slots: at least one slot, no empty byte at the end.
  if (!/^0x(?:[0-9a-f]{2}){0,31}(?!00)[0-9a-f]{2}$/.test(receipt.slots)) {
    throw fail('RECEIPT_INVALID', {
      reason: 'slots is no shortest bitmap of 1 to 256 slots',
      value: preview(receipt.slots),
    })
  }
}

const CONTENT_SIZES = [
  ['registry', 20],
  ['dataRoot', HASH_SIZE_BYTES],
  ['fingerprintRoot', HASH_SIZE_BYTES],
] as const

function isHexOf(hex: string, sizeBytes: number): boolean {
  return hex.length === 2 + 2 * sizeBytes && /^0x[0-9a-f]*$/.test(hex)
}
