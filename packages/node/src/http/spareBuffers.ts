/**
 * Buffers of bodies that were done with, for the bodies to come. A body of 4 MiB is outside of the heap but on its account: new
 * ones made a storage node spend a third of its CPU in full garbage collections (measured on Node 20).
 */
export type SpareBuffers = {
  /** At least `sizeBytes` long; what is in it is of no meaning. */
  take(sizeBytes: number): Uint8Array
  give(buffer: Uint8Array): void
  /** Lets go of what was not used since the last call. */
  trim(): void
}

/** Takes buffers for one answer, which are given back together. */
export function borrowing(spares: SpareBuffers): { take(sizeBytes: number): Uint8Array; giveBack(): void } {
  const taken: Uint8Array[] = []
  return {
    take(sizeBytes) {
      const buffer = spares.take(sizeBytes)
      taken.push(buffer)
      return buffer.subarray(0, sizeBytes)
    },
    giveBack() {
      for (const buffer of taken.splice(0)) spares.give(buffer)
    },
  }
}

/** Bodies of about one size share their buffers. */
const STEP_BYTES = 64 * 1024

export type SpareBuffersOptions = {
  readonly bytesMax: number
  /** `shared`: a worker reads it without a copy. */
  readonly memory?: 'own' | 'shared' | undefined
}

export function createSpareBuffers({ bytesMax, memory = 'own' }: SpareBuffersOptions): SpareBuffers {
  const spare: Uint8Array[] = []
  let spareBytes = 0
  let isUsed = false
  return {
    take(sizeBytes) {
      isUsed = true
      const wantedBytes = Math.ceil(sizeBytes / STEP_BYTES) * STEP_BYTES
      // The last one given is the one that is still in the cache.
      const at = spare.findLastIndex(({ length }) => length === wantedBytes)
      if (at < 0)
        return new Uint8Array(memory === 'own' ? new ArrayBuffer(wantedBytes) : new SharedArrayBuffer(wantedBytes))
      spareBytes -= wantedBytes
      return spare.splice(at, 1)[0]!
    },
    give(buffer) {
      if (buffer.length > bytesMax) return
      spare.push(buffer)
      spareBytes += buffer.length
      while (spareBytes > bytesMax) spareBytes -= spare.shift()!.length
    },
    trim() {
      if (!isUsed) {
        spare.length = 0
        spareBytes = 0
      }
      isUsed = false
    },
  }
}
