import { createCipheriv } from 'node:crypto'
import type { Ctr } from '@weightless/core'

/** AES-256-CTR by OpenSSL: the same function as core's own, with the machine's AES instructions. */
export const aesCtr: Ctr = (key, counter, data) => {
  const out = createCipheriv('aes-256-ctr', key, counter).update(data)
  return new Uint8Array(out.buffer, out.byteOffset, out.length)
}
