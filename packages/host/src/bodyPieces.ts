/** Collects young objects now; `undefined` where the program was not started with `--expose-gc`. */
export type CollectYoung = (() => void) | undefined

/** The server hands out each piece of a body as an object of 100 bytes that holds 64 KiB outside the heap. By its own count the
 *  collector would wait for a megabyte of such objects; by that of their memory it marks the whole heap for every 32 MiB of them
 *  (40 ms, a third of what a storage node spent on receiving). Looking at the young ones alone takes half a millisecond. */
export const PIECES_BYTES_MAX: number = 4 * 1024 ** 2

/** Counts pieces that were used up, and has them collected. */
export function createPieceCount(collectYoung: CollectYoung): (sizeBytes: number) => void {
  if (collectYoung === undefined) return () => undefined
  let usedBytes = 0
  return (sizeBytes) => {
    usedBytes += sizeBytes
    if (usedBytes < PIECES_BYTES_MAX) return
    usedBytes = 0
    collectYoung()
  }
}

/** One for the process: there is one heap. */
export const countPiece: (sizeBytes: number) => void = createPieceCount(collectYoungOf(globalThis))

function collectYoungOf({ gc }: { readonly gc?: unknown }): CollectYoung {
  if (typeof gc !== 'function') return undefined
  return () => (gc as (options: { readonly type: 'minor' }) => void)({ type: 'minor' })
}
