import { ctr as nobleCtr } from '@noble/ciphers/aes.js'
import { secp256k1 } from '@noble/curves/secp256k1.js'
import { hkdf } from '@noble/hashes/hkdf.js'
import { sha256 } from '@noble/hashes/sha2.js'
import { concat } from '../bytes.ts'
import { fail, invariant } from '../errors.ts'

/** Encryption formats v1 (a caller's key) and v2 (ECIES to a secp256k1 key) of the official SDK (spec/storage.md 8.1): a header in
 *  front, then AES-256-CTR. The root and the size of the object are those of header ‖ ciphertext. There is no authentication
 *  tag: the Merkle root of the object is what protects the ciphertext, and a wrong key gives garbage of the right size. */
export type Encryption =
  | { readonly type: 'aes256'; readonly key: Uint8Array }
  /** Compressed (33 bytes) or uncompressed (65 bytes). */
  | { readonly type: 'ecies'; readonly recipientPublicKey: Uint8Array }

export type CipherHeader =
  | { readonly version: 1; readonly nonce: Uint8Array; readonly sizeBytes: number }
  | {
      readonly version: 2
      readonly ephemeralPublicKey: Uint8Array
      readonly nonce: Uint8Array
      readonly sizeBytes: number
    }

/** XORs the key stream; the same call encrypts and decrypts. `plaintextOffset` is where `bytes` begin, header not counted, so
 *  parts may come in any order and size. Returns new bytes. */
export type CipherStream = { apply(bytes: Uint8Array, plaintextOffset: number): Uint8Array }

/** AES-256-CTR with a 128-bit big-endian counter: key 32 bytes, counter 16 bytes. A host may pass the machine's own. */
export type Ctr = (key: Uint8Array, counter: Uint8Array, data: Uint8Array) => Uint8Array

/** Random bytes that an encryptor consumes: 32 for an ephemeral key (v2 only), then 16 for the nonce. Never use them twice. */
export const ENCRYPTION_RANDOM_BYTES = 48

/** Throws `CIPHER_KEY_INVALID` for a key that is not 32 bytes or a public key that is no point. */
export function createEncryptor(
  encryption: Encryption,
  random: Uint8Array,
  options: { readonly ctr?: Ctr | undefined } = {},
): CipherStream & { readonly header: Uint8Array } {
  invariant(random.length === ENCRYPTION_RANDOM_BYTES, 'an encryptor takes 48 random bytes')
  const nonce = random.slice(32)
  if (encryption.type === 'aes256') {
    checkKey(encryption.key, 'key')
    return { header: concat([Uint8Array.of(1), nonce]), ...stream(encryption.key.slice(), nonce, options.ctr) }
  }
  const ephemeralKey = random.slice(0, 32)
  if (!secp256k1.utils.isValidSecretKey(ephemeralKey))
    throw fail('CIPHER_KEY_INVALID', { reason: 'the random bytes are no scalar' })
  const key = sharedKey(ephemeralKey, encryption.recipientPublicKey)
  if (key === undefined) throw fail('CIPHER_KEY_INVALID', { reason: 'the recipient is no public key' })
  const header = concat([Uint8Array.of(2), secp256k1.getPublicKey(ephemeralKey, true), nonce])
  return { header, ...stream(key, nonce, options.ctr) }
}

/** Reads the header at the start of an object; it needs the first `CIPHER_HEADER_BYTES_MAX` bytes, or all of a shorter object.
 *  Throws `CIPHER_HEADER_INVALID`. */
export function parseHeader(bytes: Uint8Array): CipherHeader {
  const version = bytes[0]
  if (version === 1 && bytes.length >= 17) return { version, nonce: bytes.slice(1, 17), sizeBytes: 17 }
  if (version === 2 && bytes.length >= 50) {
    return { version, ephemeralPublicKey: bytes.slice(1, 34), nonce: bytes.slice(34, 50), sizeBytes: 50 }
  }
  throw fail('CIPHER_HEADER_INVALID', { version, headerBytes: bytes.length })
}

export const CIPHER_HEADER_BYTES_MAX = 50

/** v1 takes `symmetricKey`, v2 takes `privateKey`, 32 bytes each. Throws `CIPHER_KEY_INVALID` when the right one is missing or
 *  malformed, `CIPHER_HEADER_INVALID` when the header's ephemeral key is no point. */
export function createDecryptor(
  header: CipherHeader,
  keys: { readonly symmetricKey?: Uint8Array | undefined; readonly privateKey?: Uint8Array | undefined },
  options: { readonly ctr?: Ctr | undefined } = {},
): CipherStream {
  if (header.version === 1) {
    checkKey(keys.symmetricKey, 'symmetricKey')
    return stream(keys.symmetricKey.slice(), header.nonce, options.ctr)
  }
  checkKey(keys.privateKey, 'privateKey')
  if (!secp256k1.utils.isValidSecretKey(keys.privateKey))
    throw fail('CIPHER_KEY_INVALID', { reason: 'privateKey is no scalar' })
  const key = sharedKey(keys.privateKey, header.ephemeralPublicKey)
  if (key === undefined) throw fail('CIPHER_HEADER_INVALID', { version: 2, reason: 'the ephemeral key is no point' })
  return stream(key, header.nonce, options.ctr)
}

const BLOCK_SIZE_BYTES = 16
const KEY_SIZE_BYTES = 32
const ECIES_INFO = '0g-storage-client/ecies/v1/aes-256'

function stream(
  key: Uint8Array,
  nonce: Uint8Array,
  ctr: Ctr = (key, counter, data) => nobleCtr(key, counter).encrypt(data),
): CipherStream {
  return {
    apply(bytes, plaintextOffset) {
      invariant(Number.isSafeInteger(plaintextOffset) && plaintextOffset >= 0, 'an offset is a whole number')
      const skip = plaintextOffset % BLOCK_SIZE_BYTES
      const counter = addToCounter(nonce, (plaintextOffset - skip) / BLOCK_SIZE_BYTES)
      if (skip === 0) return ctr(key, counter, bytes)
      return ctr(key, counter, concat([new Uint8Array(skip), bytes])).subarray(skip)
    },
  }
}

/** nonce + blocks modulo 2^128, big-endian. */
function addToCounter(nonce: Uint8Array, blocks: number): Uint8Array {
  const counter = nonce.slice()
  let carry = blocks
  for (let i = BLOCK_SIZE_BYTES - 1; i >= 0 && carry > 0; i--) {
    carry += counter[i]!
    counter[i] = carry % 256
    carry = Math.floor(carry / 256)
  }
  return counter
}

/** HKDF-SHA256 over the x coordinate of the shared point, empty salt. `undefined` when `publicKey` is no point. */
function sharedKey(privateKey: Uint8Array, publicKey: Uint8Array): Uint8Array | undefined {
  let point: Uint8Array
  try {
    point = secp256k1.getSharedSecret(privateKey, publicKey, true)
  } catch {
    return undefined
  }
  return hkdf(sha256, point.subarray(1), new Uint8Array(0), new TextEncoder().encode(ECIES_INFO), KEY_SIZE_BYTES)
}

function checkKey(key: Uint8Array | undefined, name: string): asserts key is Uint8Array {
  // Callers in plain JavaScript pass hex strings; the official SDK throws for them as well (spec/storage.md 11.2, 18).
  if (!(key instanceof Uint8Array) || key.length !== KEY_SIZE_BYTES) {
    throw fail('CIPHER_KEY_INVALID', { name, keyBytes: key instanceof Uint8Array ? key.length : undefined })
  }
}
