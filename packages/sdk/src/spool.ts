import { concat, type Abortable } from '@weightless/core'
import { fail } from './errors.ts'
import type { ReadAt } from './source.ts'

/** Where a source that can be read only once waits for its second reading: its root must be on chain before its first byte can
 *  be stored. Node hosts pass one on disk; browsers may pass one on OPFS. */
export type Spool = { create(options: Abortable): Promise<SpoolFile> }
export type SpoolFile = ReadAt & {
  append(bytes: Uint8Array, options: Abortable): Promise<void>
  /** Gives the space back. */
  dispose(): Promise<void>
}

/** What a page or a small server can spare for one stream; above it, a spool on disk is the answer. */
export const MEMORY_SPOOL_BYTES_MAX: number = 256 * 1024 ** 2
/** Parts of this size: few enough to find quickly, small enough not to double the memory while growing. */
const PART_BYTES: number = 1024 ** 2

/** Keeps the bytes in memory, at most `sizeBytesMax` for each source. Throws `SPOOL_FULL`. */
export function createMemorySpool(options: { readonly sizeBytesMax?: number } = {}): Spool {
  const { sizeBytesMax = MEMORY_SPOOL_BYTES_MAX } = options
  return {
    create: async () => {
      let parts: Uint8Array[] = []
      let sizeBytes = 0
      return {
        get sizeBytes() {
          return sizeBytes
        },
        append: async (bytes) => {
          if (sizeBytes + bytes.length > sizeBytesMax) throw fail('SPOOL_FULL', { sizeBytesMax, option: 'spool' })
          // Copied into parts of one size: the producer may reuse its buffer, and reading finds a part by division.
          for (let at = 0; at < bytes.length;) {
            const offset = sizeBytes % PART_BYTES
            if (offset === 0) parts.push(new Uint8Array(PART_BYTES))
            const count = Math.min(PART_BYTES - offset, bytes.length - at)
            parts[parts.length - 1]!.set(bytes.subarray(at, at + count), offset)
            sizeBytes += count
            at += count
          }
        },
        read: async (start, end) => {
          const pieces: Uint8Array[] = []
          for (let at = start; at < Math.min(end, sizeBytes);) {
            const offset = at % PART_BYTES
            const count = Math.min(PART_BYTES - offset, Math.min(end, sizeBytes) - at)
            pieces.push(parts[Math.floor(at / PART_BYTES)]!.subarray(offset, offset + count))
            at += count
          }
          return pieces.length === 1 ? pieces[0]! : concat(pieces)
        },
        dispose: async () => {
          parts = []
          sizeBytes = 0
        },
      }
    },
  }
}
