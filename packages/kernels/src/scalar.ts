/** keccak-256 and the tree in plain TypeScript: the specification of assembly/keccak.ts, and what answers where WASM SIMD is
 *  missing. Source: FIPS 202 section 3.2 with the padding byte 0x01 of the original Keccak, as Ethereum uses it. */
export const scalar: Primitives = { keccak256, segmentRootInto, level, merkleRoot }

export type Primitives = {
  keccak256(data: Uint8Array): Uint8Array
  /** The root of `data`, zero-extended to `leafCount` chunks, written at `out[at]`. */
  segmentRootInto(data: Uint8Array, leafCount: number, out: Uint8Array, at: number): void
  /** `hashes` of one level become those of the level above: an odd last one is carried unchanged. */
  level(hashes: Uint8Array): Uint8Array
  merkleRoot(hashes: Uint8Array): Uint8Array
}

function keccak256(data: Uint8Array): Uint8Array {
  const state = new Int32Array(50)
  for (let i = 0; i < data.length; i++) {
    state[(i % 136) >> 2]! ^= data[i]! << (8 * (i % 4))
    if (i % 136 === 135) permute(state)
  }
  const tail = data.length % 136
  state[tail >> 2]! ^= 1 << (8 * (tail % 4))
  state[33]! ^= 0x80000000
  permute(state)
  return Uint8Array.from({ length: 32 }, (_, i) => state[i >> 2]! >>> (8 * (i % 4)))
}

/** `state` is 25 lanes of 64 bits, low half first; lane (x, y) is x + 5y. */
function permute(state: Int32Array): void {
  const parity = new Int32Array(10)
  const moved = new Int32Array(50)
  for (let round = 0; round < 24; round++) {
    for (let i = 0; i < 10; i++) {
      parity[i] = state[i]! ^ state[i + 10]! ^ state[i + 20]! ^ state[i + 30]! ^ state[i + 40]!
    }
    for (let i = 0; i < 50; i++) {
      const next = ((i >> 1) + 1) % 5 // theta: the column before, and the column after rotated by 1
      state[i]! ^= parity[(i + 8) % 10]! ^ (parity[2 * next + (i & 1)]! << 1) ^ (parity[2 * next + 1 - (i & 1)]! >>> 31)
    }
    for (let i = 0; i < 50; i++) {
      const [to, shift] = [destination[i >> 1]!, rotation[i >> 1]!] // rho and pi
      const near = shift < 32 ? i : i ^ 1
      moved[2 * to + (i & 1)] =
        shift % 32 === 0 ? state[near]! : (state[near]! << shift) | (state[near ^ 1]! >>> -shift)
    }
    for (let i = 0; i < 50; i++) {
      const start = i - (i % 10) // chi
      state[i] = moved[i]! ^ (~moved[start + ((i + 2) % 10)]! & moved[start + ((i + 4) % 10)]!)
    }
    state[0]! ^= roundConstants[2 * round]! // iota
    state[1]! ^= roundConstants[2 * round + 1]!
  }
}

const rotation = [0, 1, 62, 28, 27, 36, 44, 6, 55, 20, 3, 10, 43, 25, 39, 41, 45, 15, 21, 8, 18, 2, 61, 56, 14]
const destination = Array.from({ length: 25 }, (_, i) => {
  const [x, y] = [i % 5, Math.floor(i / 5)]
  return y + 5 * ((2 * x + 3 * y) % 5)
})
const roundConstants = linearFeedbackConstants()

/** FIPS 202 3.2.5: bit 2^j - 1 of each round's constant comes from the register x^8 + x^6 + x^5 + x^4 + 1. */
function linearFeedbackConstants(): Int32Array {
  const constants = new Int32Array(48)
  let register = 1
  for (let round = 0; round < 24; round++) {
    for (let j = 0; j < 7; j++) {
      const bit = 2 ** j - 1
      if (register & 1) constants[2 * round + (bit >> 5)]! ^= 1 << bit
      register = (register << 1) ^ (register & 0x80 ? 0x171 : 0)
    }
  }
  return constants
}

function segmentRootInto(data: Uint8Array, leafCount: number, out: Uint8Array, at: number): void {
  const leaves = new Uint8Array(leafCount * 32)
  const chunk = new Uint8Array(256)
  for (let i = 0; i < leafCount; i++) {
    chunk.fill(0)
    chunk.set(data.subarray(i * 256, (i + 1) * 256))
    leaves.set(keccak256(chunk), i * 32)
  }
  out.set(merkleRoot(leaves), at)
}

function merkleRoot(hashes: Uint8Array): Uint8Array {
  return hashes.length === 32 ? hashes.slice() : merkleRoot(level(hashes))
}

function level(hashes: Uint8Array): Uint8Array {
  const pairs = Math.floor(hashes.length / 64)
  const parents = new Uint8Array(Math.ceil(hashes.length / 64) * 32)
  for (let i = 0; i < pairs; i++) parents.set(keccak256(hashes.subarray(i * 64, i * 64 + 64)), i * 32)
  if (hashes.length % 64 !== 0) parents.set(hashes.subarray(pairs * 64), pairs * 32)
  return parents
}
