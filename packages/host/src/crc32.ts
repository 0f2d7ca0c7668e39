import { crc32 as zlibCrc32 } from 'node:zlib'

/** CRC-32 (IEEE), continued from `seed`. 2.7 GB/s (spec/performance.md 3). */
export function crc32(data: Uint8Array, seed?: number): number {
  return zlibCrc32(data, seed)
}
