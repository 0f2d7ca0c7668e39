import {
  CIPHER_HEADER_BYTES_MAX,
  concat,
  createDecryptor,
  createEncryptor,
  ENCRYPTION_RANDOM_BYTES,
  parseHeader,
  type Abortable,
  type Ctr,
  type Encryption,
  type Random,
} from '@weightless/core'
import type { OpenSource, ReadAt } from './source.ts'

/** Keys for reading an encrypted object: 32 bytes each; v1 takes `symmetricKey`, v2 `privateKey`. */
export type Decryption = {
  readonly symmetricKey?: Uint8Array | undefined
  readonly privateKey?: Uint8Array | undefined
}

/** `source` as header ‖ ciphertext. One nonce serves both readings, so that they give the same bytes. */
export function encryptedSource(
  source: OpenSource,
  encryption: Encryption,
  deps: { readonly random: Random; readonly ctr?: Ctr | undefined },
): OpenSource {
  const { header, apply } = createEncryptor(encryption, deps.random.bytes(ENCRYPTION_RANDOM_BYTES), { ctr: deps.ctr })
  return {
    sizeBytes: header.length + source.sizeBytes,
    read: async (start, end, options) => {
      const head = header.subarray(Math.min(start, header.length), Math.min(end, header.length))
      if (end <= header.length) return head
      const from = Math.max(0, start - header.length)
      const body = apply(await source.read(from, end - header.length, options), from)
      return head.length === 0 ? body : concat([head, body])
    },
    dispose: () => source.dispose(),
  }
}

/** Where the plain bytes of an encrypted object lie, and how to open them. */
export type Opened = {
  /** Bytes of the header in front. */
  readonly headerBytes: number
  /** `plainOffset`: where `bytes` begin in the plain object. */
  decrypt(bytes: Uint8Array, plainOffset: number): Uint8Array
}

/** Reads the header through `stored`. Throws `CIPHER_HEADER_INVALID` and `CIPHER_KEY_INVALID`. A wrong key gives garbage of the
 *  right size and no error: the format has no tag. */
export async function openEncrypted(
  stored: ReadAt,
  decryption: Decryption,
  deps: { readonly ctr?: Ctr | undefined },
  options: Abortable,
): Promise<Opened> {
  const header = parseHeader(await stored.read(0, Math.min(CIPHER_HEADER_BYTES_MAX, stored.sizeBytes), options))
  const { apply } = createDecryptor(header, decryption, { ctr: deps.ctr })
  return { headerBytes: header.sizeBytes, decrypt: apply }
}
