// Linear combinations of byte rows over GF(2^8) = GF(2)[x]/(x^8 + x^4 + x^3 + x^2 + 1): the one operation that Reed–Solomon
// encoding, decoding and the fingerprint of docs/erasure.md are made of. A product by a constant is two table look-ups, one for
// each half of the byte, and i8x16.swizzle does sixteen of them at once. Built by scripts/build.mjs; the specification is
// src/combination.ts.
//
// The door: coefficients or bytes to address 0, call, answers where the call says. [0, 524288) is the caller's; everything of
// our own lies behind it (--memoryBase 524288).

/** Of each of the 256 constants: its products by 0 … 15, and those by 0, 16 … 240. */
const TABLE_BYTES: usize = 32
const TABLES: usize = memory.data(256 * 32, 16)
/** Places of tables from TABLES on, two bytes each: the k·m ≤ 128·128 coefficients of a code, two rows side by side. */
const PLACES: usize = memory.data(16384 * 2, 16)
/** Bytes of a row worked on at a time. */
const STEP: usize = 32

/** The fingerprint's group: 64 pairs of blocks, and the pair of sums so far. */
const GROUP_PAIRS: usize = 64
const GROUP_BYTES: usize = 64 * 32
const BLOCK_BYTES: usize = 16
const PRODUCTS: usize = memory.data(16 * 32, 16)

/** Takes the matrix at 0: `outputCount` rows of `inputCount` coefficients. Later calls combine by it. */
export function prepare(inputCount: usize, outputCount: usize): void {
  let place = PLACES
  for (let row: usize = 0; row < outputCount; row += 2) {
    const width: usize = outputCount - row > 1 ? 2 : 1
    for (let i: usize = 0; i < inputCount; i++) {
      for (let r: usize = 0; r < width; r++) {
        store<u16>(place, <u16>load<u8>((row + r) * inputCount + i) << 5)
        place += 2
      }
    }
  }
}

/** Rows of `sizeBytes`, a multiple of 32, lie `strideBytes` apart: the inputs from 0 on, the outputs behind them. */
export function combine(inputCount: usize, outputCount: usize, strideBytes: usize, sizeBytes: usize): void {
  let places = PLACES
  let out = inputCount * strideBytes
  for (; outputCount > 1; outputCount -= 2) {
    for (let at: usize = 0; at < sizeBytes; at += STEP) {
      twoRows(out + at, at, places, inputCount, strideBytes, strideBytes)
    }
    places += inputCount * 4
    out += strideBytes * 2
  }
  if (outputCount > 0) {
    for (let at: usize = 0; at < sizeBytes; at += STEP) oneRow(out + at, at, places, inputCount, strideBytes)
  }
}

// Two rows of two vectors: with four rows the sums and half bytes alone take twelve of the sixteen registers, and what the engine
// then spills costs more than reading the inputs twice (5.9 GB/s against 7.4, in wasm memory, at 10+4).
// @ts-ignore: decorator
@inline function twoRows(
  out: usize,
  from: usize,
  places: usize,
  inputCount: usize,
  inputStride: usize,
  outputStride: usize,
): void {
  const half = i8x16.splat(0x0f)
  let a0 = i8x16.splat(0)
  let a1 = i8x16.splat(0)
  let b0 = i8x16.splat(0)
  let b1 = i8x16.splat(0)
  const end = places + inputCount * 4
  for (; places < end; places += 4) {
    const a = TABLES + <usize>load<u16>(places)
    const b = TABLES + <usize>load<u16>(places, 2)
    const x0 = v128.load(from)
    const l0 = v128.and(x0, half)
    const h0 = v128.and(i16x8.shr_u(x0, 4), half)
    a0 = v128.xor(a0, product(a, l0, h0))
    b0 = v128.xor(b0, product(b, l0, h0))
    const x1 = v128.load(from, 16)
    const l1 = v128.and(x1, half)
    const h1 = v128.and(i16x8.shr_u(x1, 4), half)
    a1 = v128.xor(a1, product(a, l1, h1))
    b1 = v128.xor(b1, product(b, l1, h1))
    from += inputStride
  }
  v128.store(out, a0)
  v128.store(out, a1, 16)
  v128.store(out + outputStride, b0)
  v128.store(out + outputStride, b1, 16)
}

// @ts-ignore: decorator
@inline function oneRow(out: usize, from: usize, places: usize, inputCount: usize, inputStride: usize): void {
  const half = i8x16.splat(0x0f)
  let a0 = i8x16.splat(0)
  let a1 = i8x16.splat(0)
  const end = places + inputCount * 2
  for (; places < end; places += 2) {
    const a = TABLES + <usize>load<u16>(places)
    const x0 = v128.load(from)
    a0 = v128.xor(a0, product(a, v128.and(x0, half), v128.and(i16x8.shr_u(x0, 4), half)))
    const x1 = v128.load(from, 16)
    a1 = v128.xor(a1, product(a, v128.and(x1, half), v128.and(i16x8.shr_u(x1, 4), half)))
    from += inputStride
  }
  v128.store(out, a0)
  v128.store(out, a1, 16)
}

// @ts-ignore: decorator
@inline function product(table: usize, low: v128, high: v128): v128 {
  return v128.xor(i8x16.swizzle(v128.load(table), low), i8x16.swizzle(v128.load(table, 16), high))
}

// ── The fingerprint ──────────────────────────────────────────────────────────────────────────────────────────────────────

// With ρ = r², a group of pairs (B₂ᵢ, B₂ᵢ₊₁) and the pair of sums behind it are combined by the coefficients of ρ⁰ … ρ⁶⁴: output
// c is Σᵢ ρⁱ[c]·pairᵢ, and Σ_c output_c·y^c is the pair of sums from this group on. Groups are taken from the last to the first,
// and a pair of sums is written over the bytes of its own group, where the one before finds it.

/** Sums of the even and of the odd blocks of the `sizeBytes` at 0: Σ B₂ᵢ·ρⁱ at 0, Σ B₂ᵢ₊₁·ρⁱ at 16. Prepared must be 16 rows of
 *  65 coefficients: row c has those of y^c in ρ⁰ … ρ⁶⁴. At most 262144 bytes. */
export function fingerprint(sizeBytes: usize): void {
  let at = (sizeBytes + GROUP_BYTES - 1) & ~(GROUP_BYTES - 1)
  memory.fill(sizeBytes, 0, at - sizeBytes + STEP)
  while (at > 0) {
    at -= GROUP_BYTES
    let places = PLACES
    for (let row: usize = 0; row < 16; row += 2) {
      twoRows(PRODUCTS + row * STEP, at, places, GROUP_PAIRS + 1, STEP, STEP)
      places += (GROUP_PAIRS + 1) * 4
    }
    let even = i8x16.splat(0)
    let odd = i8x16.splat(0)
    for (let product = PRODUCTS + 15 * STEP; product >= PRODUCTS; product -= STEP) {
      even = v128.xor(timesY(even), v128.load(product))
      odd = v128.xor(timesY(odd), v128.load(product, BLOCK_BYTES))
    }
    v128.store(at, even)
    v128.store(at, odd, BLOCK_BYTES)
  }
}

/** In GF(2^8)[y]/(y^16 + y^3 + y + 6): all bytes one place up, and the one that falls out times y^3 + y + 6. */
// @ts-ignore: decorator
@inline function timesY(x: v128): v128 {
  const top = i8x16.swizzle(x, i8x16.splat(15))
  const two = doubled(top)
  const carried = v128.or(
    v128.and(v128.xor(two, doubled(two)), i8x16(-1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)),
    v128.and(top, i8x16(0, -1, 0, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)),
  )
  const moved = v128.shuffle<u8>(x, i8x16.splat(0), 16, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14)
  return v128.xor(moved, carried)
}

/** Each byte times x. */
// @ts-ignore: decorator
@inline function doubled(bytes: v128): v128 {
  return v128.xor(i8x16.add(bytes, bytes), v128.and(i8x16.shr_s(bytes, 7), i8x16.splat(0x1d)))
}

// At instantiation: the table of 1, of each power of two from the one before, and of all others as sums of two.
v128.store(TABLES + TABLE_BYTES, i8x16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
v128.store(TABLES + TABLE_BYTES + 16, i8x16(0, 16, 32, 48, 64, 80, 96, 112, -128, -112, -96, -80, -64, -48, -32, -16))
for (let constant: usize = 2; constant < 256; constant++) {
  const rest = constant & (constant - 1)
  const table = TABLES + constant * TABLE_BYTES
  for (let half: usize = 0; half < TABLE_BYTES; half += 16) {
    const value =
      rest == 0
        ? doubled(v128.load(TABLES + (constant >> 1) * TABLE_BYTES + half))
        : v128.xor(
            v128.load(TABLES + rest * TABLE_BYTES + half),
            v128.load(TABLES + (constant ^ rest) * TABLE_BYTES + half),
          )
    v128.store(table + half, value)
  }
}
