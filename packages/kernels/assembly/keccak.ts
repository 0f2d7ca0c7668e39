// keccak-256 (Ethereum's padding) and the 0G Merkle tree over one segment, two messages per permutation: lane i of message A
// and of message B share one v128. Built by scripts/build.mjs; the specification is src/scalar.ts.
//
// The door: write bytes at address 0, call, read the answer at address 0. [0, 262144) is the caller's and is used up by the
// call; everything of our own lies behind it (--memoryBase 262144).

const CHUNK: i32 = 256
const HASH: i32 = 32
/** Bytes absorbed per permutation by keccak-256. */
const RATE: i32 = 136
/** log2 of the 1024 leaves of a segment. */
const HEIGHT_MAX: i32 = 10
/** The two ends of the padding: a 1 bit after the message, a 1 bit at the end of the block. */
const FIRST_BIT: i64 = 1
const LAST_BIT: i64 = 0x8000000000000000

const ROUND_CONSTANTS: usize = memory.data<u64>([
  0x0000000000000001, 0x0000000000008082, 0x800000000000808a, 0x8000000080008000, 0x000000000000808b, 0x0000000080000001,
  0x8000000080008081, 0x8000000000008009, 0x000000000000008a, 0x0000000000000088, 0x0000000080008009, 0x000000008000000a,
  0x000000008000808b, 0x800000000000008b, 0x8000000000008089, 0x8000000000008003, 0x8000000000008002, 0x8000000000000080,
  0x000000000000800a, 0x800000008000000a, 0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008,
])
const ROUND_CONSTANTS_END: usize = ROUND_CONSTANTS + 24 * 8
const STATE: usize = memory.data(25 * 16, 16)
const SCRATCH: usize = memory.data(25 * 16, 16)
/** Roots of all-zero subtrees of 2^h leaves, h < HEIGHT_MAX. */
const ZERO: usize = memory.data(HEIGHT_MAX * HASH, 16)
/** Two hashes side by side, to hash a pair that is not in the tree's own row. */
const PAIR: usize = memory.data(2 * HASH, 16)

// ── The permutation ──────────────────────────────────────────────────────────────────────────────────────────────────────

// Rounds read one state in memory and write the other, and carry only the five column parities of theta in locals. All 25
// lanes as locals (359 MB/s) lose to this (425 MB/s, Node 20 and 24 alike): the machine has 16 vector registers, and the
// compiler then moves every spilled lane between stack slots at the end of each round. Unrolling loses too (2 rounds: 411).
function permute(): void {
  let s = STATE
  let t = SCRATCH
  let c0 = column(s, 0)
  let c1 = column(s, 1)
  let c2 = column(s, 2)
  let c3 = column(s, 3)
  let c4 = column(s, 4)
  for (let constant = ROUND_CONSTANTS; constant < ROUND_CONSTANTS_END; constant += 8) {
    const d0 = v128.xor(c4, rotate1(c1))
    const d1 = v128.xor(c0, rotate1(c2))
    const d2 = v128.xor(c1, rotate1(c3))
    const d3 = v128.xor(c2, rotate1(c4))
    const d4 = v128.xor(c3, rotate1(c0))

    let b0 = v128.xor(v128.load(s, 0 * 16), d0)
    let b1 = rotate(v128.xor(v128.load(s, 6 * 16), d1), 44)
    let b2 = rotate(v128.xor(v128.load(s, 12 * 16), d2), 43)
    let b3 = rotate(v128.xor(v128.load(s, 18 * 16), d3), 21)
    let b4 = rotate(v128.xor(v128.load(s, 24 * 16), d4), 14)
    c0 = v128.xor(chi(b0, b1, b2), v128.load_splat<u64>(constant))
    c1 = chi(b1, b2, b3)
    c2 = chi(b2, b3, b4)
    c3 = chi(b3, b4, b0)
    c4 = chi(b4, b0, b1)
    v128.store(t, c0, 0 * 16)
    v128.store(t, c1, 1 * 16)
    v128.store(t, c2, 2 * 16)
    v128.store(t, c3, 3 * 16)
    v128.store(t, c4, 4 * 16)

    b0 = rotate(v128.xor(v128.load(s, 3 * 16), d3), 28)
    b1 = rotate(v128.xor(v128.load(s, 9 * 16), d4), 20)
    b2 = rotate(v128.xor(v128.load(s, 10 * 16), d0), 3)
    b3 = rotate(v128.xor(v128.load(s, 16 * 16), d1), 45)
    b4 = rotate(v128.xor(v128.load(s, 22 * 16), d2), 61)
    c0 = row(t, c0, chi(b0, b1, b2), 5 * 16)
    c1 = row(t, c1, chi(b1, b2, b3), 6 * 16)
    c2 = row(t, c2, chi(b2, b3, b4), 7 * 16)
    c3 = row(t, c3, chi(b3, b4, b0), 8 * 16)
    c4 = row(t, c4, chi(b4, b0, b1), 9 * 16)

    b0 = rotate1(v128.xor(v128.load(s, 1 * 16), d1))
    b1 = rotate(v128.xor(v128.load(s, 7 * 16), d2), 6)
    b2 = rotate(v128.xor(v128.load(s, 13 * 16), d3), 25)
    b3 = rotate8(v128.xor(v128.load(s, 19 * 16), d4))
    b4 = rotate(v128.xor(v128.load(s, 20 * 16), d0), 18)
    c0 = row(t, c0, chi(b0, b1, b2), 10 * 16)
    c1 = row(t, c1, chi(b1, b2, b3), 11 * 16)
    c2 = row(t, c2, chi(b2, b3, b4), 12 * 16)
    c3 = row(t, c3, chi(b3, b4, b0), 13 * 16)
    c4 = row(t, c4, chi(b4, b0, b1), 14 * 16)

    b0 = rotate(v128.xor(v128.load(s, 4 * 16), d4), 27)
    b1 = rotate(v128.xor(v128.load(s, 5 * 16), d0), 36)
    b2 = rotate(v128.xor(v128.load(s, 11 * 16), d1), 10)
    b3 = rotate(v128.xor(v128.load(s, 17 * 16), d2), 15)
    b4 = rotate56(v128.xor(v128.load(s, 23 * 16), d3))
    c0 = row(t, c0, chi(b0, b1, b2), 15 * 16)
    c1 = row(t, c1, chi(b1, b2, b3), 16 * 16)
    c2 = row(t, c2, chi(b2, b3, b4), 17 * 16)
    c3 = row(t, c3, chi(b3, b4, b0), 18 * 16)
    c4 = row(t, c4, chi(b4, b0, b1), 19 * 16)

    b0 = rotate(v128.xor(v128.load(s, 2 * 16), d2), 62)
    b1 = rotate(v128.xor(v128.load(s, 8 * 16), d3), 55)
    b2 = rotate(v128.xor(v128.load(s, 14 * 16), d4), 39)
    b3 = rotate(v128.xor(v128.load(s, 15 * 16), d0), 41)
    b4 = rotate(v128.xor(v128.load(s, 21 * 16), d1), 2)
    c0 = row(t, c0, chi(b0, b1, b2), 20 * 16)
    c1 = row(t, c1, chi(b1, b2, b3), 21 * 16)
    c2 = row(t, c2, chi(b2, b3, b4), 22 * 16)
    c3 = row(t, c3, chi(b3, b4, b0), 23 * 16)
    c4 = row(t, c4, chi(b4, b0, b1), 24 * 16)

    const read = s
    s = t
    t = read
  }
}

// @ts-ignore: decorator
@inline function column(s: usize, x: usize): v128 {
  const at = s + x * 16
  const upper = v128.xor(v128.load(at), v128.load(at, 5 * 16))
  const middle = v128.xor(v128.load(at, 10 * 16), v128.load(at, 15 * 16))
  return v128.xor(v128.xor(upper, middle), v128.load(at, 20 * 16))
}

/** Stores one lane of the next state and adds it to its column's parity. */
// @ts-ignore: decorator
@inline function row(t: usize, parity: v128, lane: v128, offset: usize): v128 {
  v128.store(t + offset, lane)
  return v128.xor(parity, lane)
}

// @ts-ignore: decorator
@inline function chi(a: v128, b: v128, c: v128): v128 {
  return v128.xor(a, v128.andnot(c, b))
}

// @ts-ignore: decorator
@inline function rotate(x: v128, bits: i32): v128 {
  return v128.or(v128.shl<u64>(x, bits), v128.shr<u64>(x, 64 - bits))
}

// @ts-ignore: decorator
@inline function rotate1(x: v128): v128 {
  return v128.or(v128.add<u64>(x, x), v128.shr<u64>(x, 63))
}

// Whole bytes move in one shuffle instead of two shifts and an or.
// @ts-ignore: decorator
@inline function rotate8(x: v128): v128 {
  return v128.shuffle<u8>(x, x, 7, 0, 1, 2, 3, 4, 5, 6, 15, 8, 9, 10, 11, 12, 13, 14)
}

// @ts-ignore: decorator
@inline function rotate56(x: v128): v128 {
  return v128.shuffle<u8>(x, x, 1, 2, 3, 4, 5, 6, 7, 0, 9, 10, 11, 12, 13, 14, 15, 8)
}

// ── Two messages at once ─────────────────────────────────────────────────────────────────────────────────────────────────

/** Lane i of the messages at `a` and `b`, side by side. */
// @ts-ignore: decorator
@inline function lane(a: usize, b: usize, i: usize): v128 {
  return v128.load64_lane(b + i * 8, v128.load64_zero(a + i * 8), 1)
}

// @ts-ignore: decorator
@inline function put(i: usize, value: v128): void {
  v128.store(STATE + i * 16, value)
}

// @ts-ignore: decorator
@inline function mix(i: usize, value: v128): void {
  v128.store(STATE + i * 16, v128.xor(v128.load(STATE + i * 16), value))
}

/** Hashes of two 256-byte chunks at `a` and `a + 256` into `out` and `out + 32`. */
function hashChunks(a: usize, out: usize): void {
  const b = a + CHUNK
  for (let i: usize = 0; i < 17; i++) put(i, lane(a, b, i))
  for (let i: usize = 17; i < 25; i++) put(i, i64x2.splat(0))
  permute()
  for (let i: usize = 0; i < 15; i++) mix(i, lane(a + RATE, b + RATE, i))
  mix(15, i64x2.splat(FIRST_BIT))
  mix(16, i64x2.splat(LAST_BIT))
  permute()
  squeeze(out)
}

/** Hashes of two pairs of hashes at `a` and `a + 64` into `out` and `out + 32`. */
function hashPairs(a: usize, out: usize): void {
  const b = a + 2 * HASH
  for (let i: usize = 0; i < 8; i++) put(i, lane(a, b, i))
  for (let i: usize = 8; i < 25; i++) put(i, i64x2.splat(0))
  put(8, i64x2.splat(FIRST_BIT))
  put(16, i64x2.splat(LAST_BIT))
  permute()
  squeeze(out)
}

// @ts-ignore: decorator
@inline function squeeze(out: usize): void {
  const x0 = v128.load(STATE)
  const x1 = v128.load(STATE, 16)
  const x2 = v128.load(STATE, 32)
  const x3 = v128.load(STATE, 48)
  v128.store(out, v128.shuffle<u64>(x0, x1, 0, 2))
  v128.store(out, v128.shuffle<u64>(x2, x3, 0, 2), 16)
  v128.store(out, v128.shuffle<u64>(x0, x1, 1, 3), 32)
  v128.store(out, v128.shuffle<u64>(x2, x3, 1, 3), 48)
}

// ── Trees ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

// Everything happens in place: a row writes 64 bytes where it has read at least 128. With an odd number of messages the last
// permutation has one of them, and whatever lies behind it, as its second: that hash is written over bytes no longer needed.

/** One level up: `count` hashes at 0 become ceil(count / 2) at 0, an odd last one is carried unchanged. Returns that count. */
export function level(count: i32): i32 {
  const pairs = count >> 1
  for (let i = 0; i < pairs; i += 2) hashPairs(<usize>i * 64, <usize>i * 32)
  if (count & 1) memory.copy(<usize>pairs * 32, <usize>count * 32 - 32, HASH)
  return pairs + (count & 1)
}

/** The root of `count` ≥ 1 hashes at 0, at 0. */
export function merkleRoot(count: i32): void {
  while (count > 1) count = level(count)
}

/** The root of the `sizeBytes` at 0, zero-extended to `leafCount` ≥ 1 chunks, at 0. Zero chunks are not hashed: subtrees of
 *  them are known. */
export function segmentRoot(sizeBytes: i32, leafCount: i32): void {
  let real = (sizeBytes + CHUNK - 1) / CHUNK
  memory.fill(sizeBytes, 0, real * CHUNK - sizeBytes)
  for (let i = 0; i < real; i += 2) hashChunks(<usize>i * CHUNK, <usize>i * HASH)

  // Nodes [0, real) of this level are at 0. Of the others all but the last cover 2^height zero chunks; the last covers what
  // is left, and its hash is kept in the second half of PAIR.
  memory.copy(PAIR + HASH, ZERO, HASH)
  let height = 0
  for (let count = leafCount; count > 1; count = (count + 1) >> 1) {
    const known = ZERO + <usize>height * HASH
    if (real & 1 && real < count) {
      memory.copy(<usize>real * HASH, real == count - 1 ? PAIR + HASH : known, HASH)
      real++
    }
    const isTailPaired = real < count && !(count & 1)
    real = level(real)
    if (isTailPaired) {
      memory.copy(PAIR, known, HASH)
      hashPairs(PAIR, PAIR)
      memory.copy(PAIR + HASH, PAIR, HASH)
    }
    height++
  }
  if (real == 0) memory.copy(0, PAIR + HASH, HASH)
}

// ── One message of any length ────────────────────────────────────────────────────────────────────────────────────────────

export function keccakStart(): void {
  memory.fill(STATE, 0, 25 * 16)
}

/** Absorbs `blockCount` × 136 bytes at 0. */
export function keccakAbsorb(blockCount: i32): void {
  const end = <usize>blockCount * RATE
  for (let at: usize = 0; at < end; at += RATE) {
    for (let i: usize = 0; i < 17; i++) mix(i, v128.load_splat<u64>(at + i * 8))
    permute()
  }
}

/** Absorbs the last `sizeBytes` (below the size of the caller's area less one block) at 0; the hash is at 0. */
export function keccakFinish(sizeBytes: i32): void {
  const blockCount = sizeBytes / RATE + 1
  const end = blockCount * RATE
  memory.fill(sizeBytes, 0, end - sizeBytes)
  store<u8>(sizeBytes, 0x01)
  store<u8>(end - 1, load<u8>(end - 1) | 0x80)
  keccakAbsorb(blockCount)
  squeeze(0)
}

// At instantiation the memory is zero: the first leaf of ZERO is the chunk at 0.
hashChunks(0, PAIR)
for (let height = 0; height < HEIGHT_MAX; height++) {
  memory.copy(ZERO + <usize>height * HASH, PAIR, HASH)
  memory.copy(PAIR + HASH, PAIR, HASH)
  hashPairs(PAIR, PAIR)
}
