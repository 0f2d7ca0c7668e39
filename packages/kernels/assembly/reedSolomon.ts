// Linear combinations of byte rows over GF(2^8) = GF(2)[x]/(x^8 + x^4 + x^3 + x^2 + 1): the one operation that Reed–Solomon
// encoding, decoding and the fingerprint of docs/erasure.md are made of. Built by scripts/build.mjs; the specification is
// src/combination.ts.
//
// There are two ways. By products: a product by a constant is two table look-ups, one for each half of the byte, and
// i8x16.swizzle does sixteen of them at once. By sums ("four Russians"): of each four inputs all sixteen sums are made once; bit
// b of an output's coefficients says which sums make Σ_b, and the output is Σ_b x^b·Σ_b, by doubling. The sums must be made first,
// so they pay for large matrices.
//
// It is built twice. Where the engine has relaxed SIMD (Node 22, browsers of 2023) a look-up is one instruction: indices are half
// bytes, so what is relaxed, an index above 15, does not occur, and all machines give the same bytes.
//
// The door: coefficients or bytes to address 0, call, answers where the call says. [0, 524288) is the caller's; everything of
// our own lies behind it (--memoryBase 524288).

/** Of each of the 256 constants: its products by 0 … 15, and those by 0, 16 … 240. */
const TABLE_BYTES: usize = 32
const TABLES: usize = memory.data(256 * 32, 16)
/** Bytes of a row worked on at a time. */
const STEP: usize = 64
/** Of each four inputs the sixteen sums, a step of each. */
const SUMS: usize = memory.data(64 * 16 * 64, 64)
/** What is prepared, two bytes each. By products: the places from TABLES on of the tables of all k·m ≤ 128·128 coefficients, two
 *  rows side by side. By sums: of each row, of each bit from 7 down, of each four inputs the place from SUMS on; those of eight
 *  inputs are used together. At most m·8·2·ceil(k/8), which is largest at 121+135. */
const PLACES: usize = memory.data(135 * 8 * 32 * 2, 16)

/** From so many inputs and outputs on sums are faster: 1.2 times at 16+8, 1.45 at 29+51, 1.65 at 64+64, but 0.7 at 10+4. */
const SUMMED_INPUTS_MIN: usize = 16
const SUMMED_OUTPUTS_MIN: usize = 8
let isBySums: bool = false

/** The fingerprint's group: 63 quads of blocks, and with the four sums so far 64 inputs. */
const GROUP_QUADS: usize = 63
const GROUP_BYTES: usize = GROUP_QUADS * 64
const BLOCK_BYTES: usize = 16
const FINGERPRINT_ROWS: usize = 16
const OUTPUTS: usize = memory.data(16 * 64, 16)

/** Takes the matrix at 0: `outputCount` rows of `inputCount` coefficients. Later calls combine by it. */
export function prepare(inputCount: usize, outputCount: usize): void {
  isBySums = inputCount >= SUMMED_INPUTS_MIN && outputCount >= SUMMED_OUTPUTS_MIN
  if (isBySums) prepareSums(inputCount, outputCount)
  else prepareProducts(inputCount, outputCount)
}

/** Rows of `sizeBytes`, a multiple of 64, lie `strideBytes` apart: the inputs from 0 on, the outputs behind them. */
export function combine(inputCount: usize, outputCount: usize, strideBytes: usize, sizeBytes: usize): void {
  const out = inputCount * strideBytes
  if (isBySums) {
    for (let at: usize = 0; at < sizeBytes; at += STEP) combineSums(out + at, at, inputCount, outputCount, strideBytes)
  } else combineProducts(out, inputCount, outputCount, strideBytes, sizeBytes)
}

// ── By products ──────────────────────────────────────────────────────────────────────────────────────────────────────────

function prepareProducts(inputCount: usize, outputCount: usize): void {
  let place = PLACES
  for (let row: usize = 0; row < outputCount; row += 2) {
    const width: usize = outputCount - row > 1 ? 2 : 1
    for (let i: usize = 0; i < inputCount; i++) {
      for (let r: usize = 0; r < width; r++) {
        store<u16>(place, <u16>(load<u8>((row + r) * inputCount + i) * TABLE_BYTES))
        place += 2
      }
    }
  }
}

function combineProducts(
  out: usize,
  inputCount: usize,
  outputCount: usize,
  strideBytes: usize,
  sizeBytes: usize,
): void {
  let places = PLACES
  for (; outputCount > 1; outputCount -= 2) {
    if (ASC_FEATURE_RELAXED_SIMD) {
      for (let at: usize = 0; at < sizeBytes; at += 64) twoWideRows(out + at, at, places, inputCount, strideBytes)
    } else {
      for (let at: usize = 0; at < sizeBytes; at += 32) twoRows(out + at, at, places, inputCount, strideBytes)
    }
    places += inputCount * 4
    out += strideBytes * 2
  }
  if (outputCount > 0) {
    for (let at: usize = 0; at < sizeBytes; at += 32) oneRow(out + at, at, places, inputCount, strideBytes)
  }
}

// Two rows of two vectors: with four rows the sums and half bytes alone take twelve of the sixteen registers, and what the engine
// then spills costs more than reading the inputs twice (5.9 GB/s against 7.4, in wasm memory, at 10+4).
// @ts-ignore: decorator
@inline function twoRows(out: usize, from: usize, places: usize, inputCount: usize, strideBytes: usize): void {
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
    from += strideBytes
  }
  v128.store(out, a0)
  v128.store(out, a1, 16)
  v128.store(out + strideBytes, b0)
  v128.store(out + strideBytes, b1, 16)
}

// Four vectors, each done with before the next is read: eight sums and the four tables are all that stays in registers. The
// engine of Node 20 does two vectors as fast with relaxed look-ups and 1.1 times as fast without, that of Node 24 takes 1.3 times
// as long for them.
// @ts-ignore: decorator
@inline function twoWideRows(out: usize, from: usize, places: usize, inputCount: usize, strideBytes: usize): void {
  const half = i8x16.splat(0x0f)
  let a0 = i8x16.splat(0)
  let a1 = i8x16.splat(0)
  let a2 = i8x16.splat(0)
  let a3 = i8x16.splat(0)
  let b0 = i8x16.splat(0)
  let b1 = i8x16.splat(0)
  let b2 = i8x16.splat(0)
  let b3 = i8x16.splat(0)
  const end = places + inputCount * 4
  for (; places < end; places += 4) {
    const a = TABLES + <usize>load<u16>(places)
    const b = TABLES + <usize>load<u16>(places, 2)
    const al = v128.load(a)
    const ah = v128.load(a, 16)
    const bl = v128.load(b)
    const bh = v128.load(b, 16)
    let x = v128.load(from)
    let l = v128.and(x, half)
    let h = v128.and(i16x8.shr_u(x, 4), half)
    a0 = v128.xor(a0, v128.xor(lookedUp(al, l), lookedUp(ah, h)))
    b0 = v128.xor(b0, v128.xor(lookedUp(bl, l), lookedUp(bh, h)))
    x = v128.load(from, 16)
    l = v128.and(x, half)
    h = v128.and(i16x8.shr_u(x, 4), half)
    a1 = v128.xor(a1, v128.xor(lookedUp(al, l), lookedUp(ah, h)))
    b1 = v128.xor(b1, v128.xor(lookedUp(bl, l), lookedUp(bh, h)))
    x = v128.load(from, 32)
    l = v128.and(x, half)
    h = v128.and(i16x8.shr_u(x, 4), half)
    a2 = v128.xor(a2, v128.xor(lookedUp(al, l), lookedUp(ah, h)))
    b2 = v128.xor(b2, v128.xor(lookedUp(bl, l), lookedUp(bh, h)))
    x = v128.load(from, 48)
    l = v128.and(x, half)
    h = v128.and(i16x8.shr_u(x, 4), half)
    a3 = v128.xor(a3, v128.xor(lookedUp(al, l), lookedUp(ah, h)))
    b3 = v128.xor(b3, v128.xor(lookedUp(bl, l), lookedUp(bh, h)))
    from += strideBytes
  }
  v128.store(out, a0)
  v128.store(out, a1, 16)
  v128.store(out, a2, 32)
  v128.store(out, a3, 48)
  v128.store(out + strideBytes, b0)
  v128.store(out + strideBytes, b1, 16)
  v128.store(out + strideBytes, b2, 32)
  v128.store(out + strideBytes, b3, 48)
}

// @ts-ignore: decorator
@inline function oneRow(out: usize, from: usize, places: usize, inputCount: usize, strideBytes: usize): void {
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
    from += strideBytes
  }
  v128.store(out, a0)
  v128.store(out, a1, 16)
}

// @ts-ignore: decorator
@inline function product(table: usize, low: v128, high: v128): v128 {
  return v128.xor(lookedUp(v128.load(table), low), lookedUp(v128.load(table, 16), high))
}

/** Indices are below 16. */
// @ts-ignore: decorator
@inline function lookedUp(table: v128, indices: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD ? i8x16.relaxed_swizzle(table, indices) : i8x16.swizzle(table, indices)
}

// ── By sums ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

function prepareSums(inputCount: usize, outputCount: usize): void {
  let place = PLACES
  for (let row: usize = 0; row < outputCount; row++) {
    const coefficients = row * inputCount
    for (let bit: u32 = 8; bit-- > 0; ) {
      for (let first: usize = 0; first < (inputCount + 7 & ~7); first += 4) {
        let which: usize = 0
        for (let i: usize = 0; i < 4 && first + i < inputCount; i++) {
          which |= ((load<u8>(coefficients + first + i) >> <u8>bit) & 1) << i
        }
        store<u16>(place, <u16>((first * 4 + which) * STEP))
        place += 2
      }
    }
  }
}

/** One step of all rows. */
function combineSums(out: usize, from: usize, inputCount: usize, outputCount: usize, strideBytes: usize): void {
  makeSums(from, inputCount, strideBytes)
  const placesBytes = ((inputCount + 7) >> 3) * 4
  let place = PLACES
  for (let row: usize = 0; row < outputCount; row++) {
    let a0 = i8x16.splat(0)
    let a1 = i8x16.splat(0)
    let a2 = i8x16.splat(0)
    let a3 = i8x16.splat(0)
    for (const rowEnd = place + placesBytes * 8; place < rowEnd; ) {
      a0 = doubled(a0)
      a1 = doubled(a1)
      a2 = doubled(a2)
      a3 = doubled(a3)
      for (const end = place + placesBytes; place < end; place += 4) {
        const s = SUMS + <usize>load<u16>(place)
        const t = SUMS + <usize>load<u16>(place, 2)
        a0 = v128.xor(a0, v128.xor(v128.load(s), v128.load(t)))
        a1 = v128.xor(a1, v128.xor(v128.load(s, 16), v128.load(t, 16)))
        a2 = v128.xor(a2, v128.xor(v128.load(s, 32), v128.load(t, 32)))
        a3 = v128.xor(a3, v128.xor(v128.load(s, 48), v128.load(t, 48)))
      }
    }
    v128.store(out, a0)
    v128.store(out, a1, 16)
    v128.store(out, a2, 32)
    v128.store(out, a3, 48)
    out += strideBytes
  }
}

/** Sum number `which` of four inputs is that of the inputs whose bits are set in it. */
function makeSums(from: usize, inputCount: usize, strideBytes: usize): void {
  let to = SUMS
  for (let left = <i32>inputCount; left > 0; left -= 4) {
    for (const end = to + STEP; to < end; to += 16) {
      const none = i8x16.splat(0)
      const a = v128.load(from)
      const b = left > 1 ? v128.load(from + strideBytes) : none
      const c = left > 2 ? v128.load(from + strideBytes * 2) : none
      const d = left > 3 ? v128.load(from + strideBytes * 3) : none
      const ab = v128.xor(a, b)
      const cd = v128.xor(c, d)
      v128.store(to, none)
      v128.store(to, a, 1 * STEP)
      v128.store(to, b, 2 * STEP)
      v128.store(to, ab, 3 * STEP)
      v128.store(to, c, 4 * STEP)
      v128.store(to, v128.xor(a, c), 5 * STEP)
      v128.store(to, v128.xor(b, c), 6 * STEP)
      v128.store(to, v128.xor(ab, c), 7 * STEP)
      v128.store(to, d, 8 * STEP)
      v128.store(to, v128.xor(a, d), 9 * STEP)
      v128.store(to, v128.xor(b, d), 10 * STEP)
      v128.store(to, v128.xor(ab, d), 11 * STEP)
      v128.store(to, cd, 12 * STEP)
      v128.store(to, v128.xor(a, cd), 13 * STEP)
      v128.store(to, v128.xor(b, cd), 14 * STEP)
      v128.store(to, v128.xor(ab, cd), 15 * STEP)
      from += 16
    }
    from += strideBytes * 4 - STEP
    to += 15 * STEP
  }
}

// ── The fingerprint ──────────────────────────────────────────────────────────────────────────────────────────────────────

// With ρ = r⁴, a group of quads (B₄ᵢ … B₄ᵢ₊₃) and the quad of sums behind it are combined by the coefficients of ρ⁰ … ρ⁶³: output
// c is Σᵢ ρⁱ[c]·quadᵢ, and Σ_c output_c·y^c is the quad of sums from this group on. Groups are taken from the last to the first,
// and a quad of sums is written over the bytes of its own group, where the one before finds it.

/** Of the blocks B of the `sizeBytes` at 0, the four sums Σ B₄ᵢ₊ⱼ·ρⁱ, at 0. Prepared must be 16 rows of 64 coefficients: row c has
 *  those of y^c in ρ⁰ … ρ⁶³. At most 262144 bytes. */
export function fingerprint(sizeBytes: usize): void {
  let at = ((sizeBytes + GROUP_BYTES - 1) / GROUP_BYTES) * GROUP_BYTES
  memory.fill(sizeBytes, 0, at - sizeBytes + STEP)
  while (at > 0) {
    at -= GROUP_BYTES
    combineSums(OUTPUTS, at, GROUP_QUADS + 1, FINGERPRINT_ROWS, STEP)
    for (let block: usize = 0; block < STEP; block += BLOCK_BYTES) {
      let sum = i8x16.splat(0)
      for (let row = FINGERPRINT_ROWS; row-- > 0; ) {
        sum = v128.xor(timesY(sum), v128.load(OUTPUTS + row * STEP + block))
      }
      v128.store(at + block, sum)
    }
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
  return v128.xor(i8x16.add(bytes, bytes), v128.and(i8x16.lt_s(bytes, i8x16.splat(0)), i8x16.splat(0x1d)))
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
