// Strict base64 (RFC 4648 section 4), 16 characters per step, after Muła and Lemire. Built by scripts/build.mjs; the
// specification is the loop in src/base64.ts.
//
// The door: write characters at address 0, call, read the bytes at address 0. [0, 131072) is the caller's; everything of our
// own lies behind it (--memoryBase 131072).

const CHARACTERS: usize = 16
const BYTES: usize = 12

/** Decodes `count` characters, a multiple of 16, in place. 1 when all of them are of the alphabet; otherwise 0, and the bytes
 *  mean nothing. */
export function decode(count: usize): i32 {
  // One bit for each set of characters that a low nibble belongs to, and that a high nibble excludes: a common bit is a stranger.
  const ofLow = i8x16(0x15, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x13, 0x1a, 0x1b, 0x1b, 0x1b, 0x1a)
  const ofHigh = i8x16(0x10, 0x10, 0x01, 0x02, 0x04, 0x08, 0x04, 0x08, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10)
  // What is added to a character to make its value, by high nibble; '/' has the place before that of '+'.
  const shift = i8x16(0, 16, 19, 4, -65, -65, -71, -71, 0, 0, 0, 0, 0, 0, 0, 0)
  const nibble = i8x16.splat(0x0f)
  const slash = i8x16.splat(0x2f)
  const lowByte = i16x8.splat(0x00ff)
  const joinPairs = i16x8(0x1000, 1, 0x1000, 1, 0x1000, 1, 0x1000, 1)
  let strangers = i8x16.splat(0)
  let to: usize = 0
  for (let from: usize = 0; from < count; from += CHARACTERS) {
    const text = v128.load(from)
    const high = i8x16.shr_u(text, 4)
    const low = v128.and(text, nibble)
    strangers = v128.or(strangers, v128.and(i8x16.swizzle(ofLow, low), i8x16.swizzle(ofHigh, high)))
    const values = i8x16.add(text, i8x16.swizzle(shift, i8x16.add(i8x16.eq(text, slash), high)))
    // Two values to 12 bits, two of those to 24, and their bytes turned round and moved together.
    const pairs = v128.or(i16x8.shl(v128.and(values, lowByte), 6), i16x8.shr_u(values, 8))
    const words = i32x4.dot_i16x8_s(pairs, joinPairs)
    // Four bytes more than belong here: the next step overwrites them, and what it reads lies behind them.
    v128.store(to, i8x16.shuffle(words, words, 2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, 15, 15, 15, 15))
    to += BYTES
  }
  return i32(!v128.any_true(strangers))
}
