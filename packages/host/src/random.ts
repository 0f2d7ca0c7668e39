import { randomBytes } from 'node:crypto'
import type { Random } from '@weightless/core'

export const systemRandom: Random = {
  bytes: (sizeBytes) => {
    const bytes = randomBytes(sizeBytes)
    return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length)
  },
}
