/** Chance with a seed: the same seed gives the same run. */
export type Chance = {
  /** 0 ≤ x < 1. */
  next(): number
  /** A whole number from 0 to below `bound`. */
  below(bound: number): number
  bytes(sizeBytes: number): Uint8Array
}

/** mulberry32: 32 bits of state, even enough for choosing faults. */
export function createChance(seed: number): Chance {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (bound: number): number => Math.floor(next() * bound)
  return { next, below, bytes: (sizeBytes) => Uint8Array.from({ length: sizeBytes }, () => below(256)) }
}
