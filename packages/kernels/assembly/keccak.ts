// keccak-256 (Ethereum's padding) and the 0G Merkle tree over one segment, three messages per permutation: lane i of the first
// two share one v128, the third is computed in integers beside them. Built by scripts/build.mjs; the specification is
// src/scalar.ts.
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
/** Lanes of three messages, 600 bytes: v holds lane i of the first two side by side, w that of the third. */
@unmanaged class State {
  v0: v128; v1: v128; v2: v128; v3: v128; v4: v128
  v5: v128; v6: v128; v7: v128; v8: v128; v9: v128
  v10: v128; v11: v128; v12: v128; v13: v128; v14: v128
  v15: v128; v16: v128; v17: v128; v18: v128; v19: v128
  v20: v128; v21: v128; v22: v128; v23: v128; v24: v128
  w0: u64; w1: u64; w2: u64; w3: u64; w4: u64
  w5: u64; w6: u64; w7: u64; w8: u64; w9: u64
  w10: u64; w11: u64; w12: u64; w13: u64; w14: u64
  w15: u64; w16: u64; w17: u64; w18: u64; w19: u64
  w20: u64; w21: u64; w22: u64; w23: u64; w24: u64
}
const STATE_SIZE: usize = 608
/** Where the third message begins in a state. */
const THIRD: usize = 25 * 16
const STATE: usize = memory.data(STATE_SIZE, 16)
const SCRATCH: usize = memory.data(STATE_SIZE, 16)
/** Roots of all-zero subtrees of 2^h leaves, h < HEIGHT_MAX. */
const ZERO: usize = memory.data(HEIGHT_MAX * HASH, 16)
/** Two hashes side by side, to hash a pair that is not in the tree's own row, and room for the two pairs that come with it. */
const PAIR: usize = memory.data(6 * HASH, 16)
/** The odd last hash of a row while its level is hashed. */
const ODD: usize = memory.data(HASH, 16)

// ── The permutation ──────────────────────────────────────────────────────────────────────────────────────────────────────

// Rounds read one state in memory and write the other, and carry only the column parities of theta in locals. All 25 lanes as
// locals lose to this (359 against 425 MB/s): the machine has 16 vector registers, and the compiler then moves every spilled
// lane between stack slots at the end of each round.
//
// Two messages in vectors leave the machine waiting at the end of each round, and its integer units idle all the time: the third
// message runs there. What limits now is the number of instructions (some 500 a round, at five to seven a cycle), so
// - a turn of the loop is two rounds, there and back: the addresses of both states are then part of the instructions, no register
//   holds one and none is exchanged: 8 % on both engines. It is why the round stands here twice;
// - the third message keeps lanes 1, 2, 8, 12, 17 and 20 complemented (Keccak implementation overview 2.2): `start` sets and
//   `finish` undoes it, the rows of chi are written for it, and of its 25 `not` 5 remain: 5 % on Node 20, 2 % on Node 24;
// - lanes are stored through a class, because its offsets become part of the instruction, and read with `load`, because a getter
//   swaps the operands of its `xor` and then takes more moves: 2 % on Node 20;
// - chi's lanes are computed in an order in which three of five (the pair: two) find an operand that nobody needs any more, so
//   that no move saves it: 2 % on Node 20, 3 % on Node 24;
// - pair and third take turns line by line: 2 %;
// - bytes are not rotated by a shuffle: its mask is built anew in four instructions each time.
// What lost, measured in turn against two messages before the last two of these and the two rounds, when this was 1.19 (Node 20)
// and 1.22 (Node 24): two pairs and a third 1.19 and 1.25 at twice the code; one pair and two integer messages 1.02 and 1.08; two
// pairs 0.98 and 1.05; parities read again from memory at the end of a round 1.13 and 1.25, at its start 1.05 and 1.20. Later: a
// last round of the four lanes that a hash needs (it saves 2 % of the instructions, the way out of the loop costs more).
//
// Names: c, d, b are the column parities, theta's word for each column and the lanes of a row of the pair; p, q, a those of the
// third message; n is a complement.
function permute(): void {
  let c0 = i64x2.splat(0)
  let c1 = c0
  let c2 = c0
  let c3 = c0
  let c4 = c0
  let p0: u64 = 0
  let p1: u64 = 0
  let p2: u64 = 0
  let p3: u64 = 0
  let p4: u64 = 0
  for (let at: usize = 0; at < 25 * 8; at += 5 * 8) {
    c0 = v128.xor(c0, v128.load(STATE + 2 * at))
    c1 = v128.xor(c1, v128.load(STATE + 2 * at, 1 * 16))
    c2 = v128.xor(c2, v128.load(STATE + 2 * at, 2 * 16))
    c3 = v128.xor(c3, v128.load(STATE + 2 * at, 3 * 16))
    c4 = v128.xor(c4, v128.load(STATE + 2 * at, 4 * 16))
    p0 ^= load<u64>(STATE + at, THIRD)
    p1 ^= load<u64>(STATE + at, THIRD + 1 * 8)
    p2 ^= load<u64>(STATE + at, THIRD + 2 * 8)
    p3 ^= load<u64>(STATE + at, THIRD + 3 * 8)
    p4 ^= load<u64>(STATE + at, THIRD + 4 * 8)
  }
  const state = changetype<State>(STATE)
  const scratch = changetype<State>(SCRATCH)
  for (let constant = ROUND_CONSTANTS; constant < ROUND_CONSTANTS_END; constant += 2 * 8) {
    {
      const d0 = v128.xor(c4, rotate1(c1))
      const q0 = p4 ^ rotl<u64>(p1, 1)
      const d1 = v128.xor(c0, rotate1(c2))
      const q1 = p0 ^ rotl<u64>(p2, 1)
      const d2 = v128.xor(c1, rotate1(c3))
      const q2 = p1 ^ rotl<u64>(p3, 1)
      const d3 = v128.xor(c2, rotate1(c4))
      const q3 = p2 ^ rotl<u64>(p4, 1)
      const d4 = v128.xor(c3, rotate1(c0))
      const q4 = p3 ^ rotl<u64>(p0, 1)

      let b0 = v128.xor(v128.load(STATE, 0 * 16), d0)
      let a0 = load<u64>(STATE, THIRD + 0 * 8) ^ q0
      let b1 = rotate(v128.xor(v128.load(STATE, 6 * 16), d1), 44)
      let a1 = rotl<u64>(load<u64>(STATE, THIRD + 6 * 8) ^ q1, 44)
      let b2 = rotate(v128.xor(v128.load(STATE, 12 * 16), d2), 43)
      let a2 = rotl<u64>(load<u64>(STATE, THIRD + 12 * 8) ^ q2, 43)
      let b3 = rotate(v128.xor(v128.load(STATE, 18 * 16), d3), 21)
      let a3 = rotl<u64>(load<u64>(STATE, THIRD + 18 * 8) ^ q3, 21)
      let b4 = rotate(v128.xor(v128.load(STATE, 24 * 16), d4), 14)
      let a4 = rotl<u64>(load<u64>(STATE, THIRD + 24 * 8) ^ q4, 14)
      c2 = scratch.v2 = chi(b2, b3, b4)
      p4 = scratch.w4 = a4 ^ (a0 & a1)
      c4 = scratch.v4 = chi(b4, b0, b1)
      p1 = scratch.w1 = a1 ^ (~a2 | a3)
      c3 = scratch.v3 = chi(b3, b4, b0)
      p0 = scratch.w0 = a0 ^ (a1 | a2) ^ load<u64>(constant)
      c1 = scratch.v1 = chi(b1, b2, b3)
      p3 = scratch.w3 = a3 ^ (a4 | a0)
      c0 = scratch.v0 = v128.xor(chi(b0, b1, b2), v128.load_splat<u64>(constant))
      p2 = scratch.w2 = a2 ^ (a3 & a4)

      b0 = rotate(v128.xor(v128.load(STATE, 3 * 16), d3), 28)
      a0 = rotl<u64>(load<u64>(STATE, THIRD + 3 * 8) ^ q3, 28)
      b1 = rotate(v128.xor(v128.load(STATE, 9 * 16), d4), 20)
      a1 = rotl<u64>(load<u64>(STATE, THIRD + 9 * 8) ^ q4, 20)
      b2 = rotate(v128.xor(v128.load(STATE, 10 * 16), d0), 3)
      a2 = rotl<u64>(load<u64>(STATE, THIRD + 10 * 8) ^ q0, 3)
      b3 = rotate(v128.xor(v128.load(STATE, 16 * 16), d1), 45)
      a3 = rotl<u64>(load<u64>(STATE, THIRD + 16 * 8) ^ q1, 45)
      b4 = rotate(v128.xor(v128.load(STATE, 22 * 16), d2), 61)
      a4 = rotl<u64>(load<u64>(STATE, THIRD + 22 * 8) ^ q2, 61)
      c2 = v128.xor(c2, (scratch.v7 = chi(b2, b3, b4)))
      p4 ^= scratch.w9 = a4 ^ (a0 & a1)
      c4 = v128.xor(c4, (scratch.v9 = chi(b4, b0, b1)))
      p1 ^= scratch.w6 = a1 ^ (a2 & a3)
      c3 = v128.xor(c3, (scratch.v8 = chi(b3, b4, b0)))
      p0 ^= scratch.w5 = a0 ^ (a1 | a2)
      c1 = v128.xor(c1, (scratch.v6 = chi(b1, b2, b3)))
      p3 ^= scratch.w8 = a3 ^ (a4 | a0)
      c0 = v128.xor(c0, (scratch.v5 = chi(b0, b1, b2)))
      p2 ^= scratch.w7 = a2 ^ (a3 | ~a4)

      b0 = rotate1(v128.xor(v128.load(STATE, 1 * 16), d1))
      a0 = rotl<u64>(load<u64>(STATE, THIRD + 1 * 8) ^ q1, 1)
      b1 = rotate(v128.xor(v128.load(STATE, 7 * 16), d2), 6)
      a1 = rotl<u64>(load<u64>(STATE, THIRD + 7 * 8) ^ q2, 6)
      b2 = rotate(v128.xor(v128.load(STATE, 13 * 16), d3), 25)
      a2 = rotl<u64>(load<u64>(STATE, THIRD + 13 * 8) ^ q3, 25)
      b3 = rotate(v128.xor(v128.load(STATE, 19 * 16), d4), 8)
      a3 = rotl<u64>(load<u64>(STATE, THIRD + 19 * 8) ^ q4, 8)
      b4 = rotate(v128.xor(v128.load(STATE, 20 * 16), d0), 18)
      a4 = rotl<u64>(load<u64>(STATE, THIRD + 20 * 8) ^ q0, 18)
      c2 = v128.xor(c2, (scratch.v12 = chi(b2, b3, b4)))
      let n = ~a3
      c4 = v128.xor(c4, (scratch.v14 = chi(b4, b0, b1)))
      p4 ^= scratch.w14 = a4 ^ (a0 & a1)
      c3 = v128.xor(c3, (scratch.v13 = chi(b3, b4, b0)))
      p1 ^= scratch.w11 = a1 ^ (a2 & a3)
      c1 = v128.xor(c1, (scratch.v11 = chi(b1, b2, b3)))
      p0 ^= scratch.w10 = a0 ^ (a1 | a2)
      c0 = v128.xor(c0, (scratch.v10 = chi(b0, b1, b2)))
      p3 ^= scratch.w13 = n ^ (a4 | a0)
      p2 ^= scratch.w12 = a2 ^ (n & a4)

      b0 = rotate(v128.xor(v128.load(STATE, 4 * 16), d4), 27)
      a0 = rotl<u64>(load<u64>(STATE, THIRD + 4 * 8) ^ q4, 27)
      b1 = rotate(v128.xor(v128.load(STATE, 5 * 16), d0), 36)
      a1 = rotl<u64>(load<u64>(STATE, THIRD + 5 * 8) ^ q0, 36)
      b2 = rotate(v128.xor(v128.load(STATE, 11 * 16), d1), 10)
      a2 = rotl<u64>(load<u64>(STATE, THIRD + 11 * 8) ^ q1, 10)
      b3 = rotate(v128.xor(v128.load(STATE, 17 * 16), d2), 15)
      a3 = rotl<u64>(load<u64>(STATE, THIRD + 17 * 8) ^ q2, 15)
      b4 = rotate(v128.xor(v128.load(STATE, 23 * 16), d3), 56)
      a4 = rotl<u64>(load<u64>(STATE, THIRD + 23 * 8) ^ q3, 56)
      c2 = v128.xor(c2, (scratch.v17 = chi(b2, b3, b4)))
      n = ~a3
      c4 = v128.xor(c4, (scratch.v19 = chi(b4, b0, b1)))
      p4 ^= scratch.w19 = a4 ^ (a0 | a1)
      c3 = v128.xor(c3, (scratch.v18 = chi(b3, b4, b0)))
      p1 ^= scratch.w16 = a1 ^ (a2 | a3)
      c1 = v128.xor(c1, (scratch.v16 = chi(b1, b2, b3)))
      p0 ^= scratch.w15 = a0 ^ (a1 & a2)
      c0 = v128.xor(c0, (scratch.v15 = chi(b0, b1, b2)))
      p3 ^= scratch.w18 = n ^ (a4 & a0)
      p2 ^= scratch.w17 = a2 ^ (n | a4)

      b0 = rotate(v128.xor(v128.load(STATE, 2 * 16), d2), 62)
      a0 = rotl<u64>(load<u64>(STATE, THIRD + 2 * 8) ^ q2, 62)
      b1 = rotate(v128.xor(v128.load(STATE, 8 * 16), d3), 55)
      a1 = rotl<u64>(load<u64>(STATE, THIRD + 8 * 8) ^ q3, 55)
      b2 = rotate(v128.xor(v128.load(STATE, 14 * 16), d4), 39)
      a2 = rotl<u64>(load<u64>(STATE, THIRD + 14 * 8) ^ q4, 39)
      b3 = rotate(v128.xor(v128.load(STATE, 15 * 16), d0), 41)
      a3 = rotl<u64>(load<u64>(STATE, THIRD + 15 * 8) ^ q0, 41)
      b4 = rotate(v128.xor(v128.load(STATE, 21 * 16), d1), 2)
      a4 = rotl<u64>(load<u64>(STATE, THIRD + 21 * 8) ^ q1, 2)
      c2 = v128.xor(c2, (scratch.v22 = chi(b2, b3, b4)))
      n = ~a1
      c4 = v128.xor(c4, (scratch.v24 = chi(b4, b0, b1)))
      p4 ^= scratch.w24 = a4 ^ (a0 & a1)
      c3 = v128.xor(c3, (scratch.v23 = chi(b3, b4, b0)))
      p1 ^= scratch.w21 = n ^ (a2 | a3)
      c1 = v128.xor(c1, (scratch.v21 = chi(b1, b2, b3)))
      p0 ^= scratch.w20 = a0 ^ (n & a2)
      c0 = v128.xor(c0, (scratch.v20 = chi(b0, b1, b2)))
      p3 ^= scratch.w23 = a3 ^ (a4 | a0)
      p2 ^= scratch.w22 = a2 ^ (a3 & a4)
    }
    // The same again, back.
    {
      const d0 = v128.xor(c4, rotate1(c1))
      const q0 = p4 ^ rotl<u64>(p1, 1)
      const d1 = v128.xor(c0, rotate1(c2))
      const q1 = p0 ^ rotl<u64>(p2, 1)
      const d2 = v128.xor(c1, rotate1(c3))
      const q2 = p1 ^ rotl<u64>(p3, 1)
      const d3 = v128.xor(c2, rotate1(c4))
      const q3 = p2 ^ rotl<u64>(p4, 1)
      const d4 = v128.xor(c3, rotate1(c0))
      const q4 = p3 ^ rotl<u64>(p0, 1)

      let b0 = v128.xor(v128.load(SCRATCH, 0 * 16), d0)
      let a0 = load<u64>(SCRATCH, THIRD + 0 * 8) ^ q0
      let b1 = rotate(v128.xor(v128.load(SCRATCH, 6 * 16), d1), 44)
      let a1 = rotl<u64>(load<u64>(SCRATCH, THIRD + 6 * 8) ^ q1, 44)
      let b2 = rotate(v128.xor(v128.load(SCRATCH, 12 * 16), d2), 43)
      let a2 = rotl<u64>(load<u64>(SCRATCH, THIRD + 12 * 8) ^ q2, 43)
      let b3 = rotate(v128.xor(v128.load(SCRATCH, 18 * 16), d3), 21)
      let a3 = rotl<u64>(load<u64>(SCRATCH, THIRD + 18 * 8) ^ q3, 21)
      let b4 = rotate(v128.xor(v128.load(SCRATCH, 24 * 16), d4), 14)
      let a4 = rotl<u64>(load<u64>(SCRATCH, THIRD + 24 * 8) ^ q4, 14)
      c2 = state.v2 = chi(b2, b3, b4)
      p4 = state.w4 = a4 ^ (a0 & a1)
      c4 = state.v4 = chi(b4, b0, b1)
      p1 = state.w1 = a1 ^ (~a2 | a3)
      c3 = state.v3 = chi(b3, b4, b0)
      p0 = state.w0 = a0 ^ (a1 | a2) ^ load<u64>(constant, 8)
      c1 = state.v1 = chi(b1, b2, b3)
      p3 = state.w3 = a3 ^ (a4 | a0)
      c0 = state.v0 = v128.xor(chi(b0, b1, b2), v128.load_splat<u64>(constant, 8))
      p2 = state.w2 = a2 ^ (a3 & a4)

      b0 = rotate(v128.xor(v128.load(SCRATCH, 3 * 16), d3), 28)
      a0 = rotl<u64>(load<u64>(SCRATCH, THIRD + 3 * 8) ^ q3, 28)
      b1 = rotate(v128.xor(v128.load(SCRATCH, 9 * 16), d4), 20)
      a1 = rotl<u64>(load<u64>(SCRATCH, THIRD + 9 * 8) ^ q4, 20)
      b2 = rotate(v128.xor(v128.load(SCRATCH, 10 * 16), d0), 3)
      a2 = rotl<u64>(load<u64>(SCRATCH, THIRD + 10 * 8) ^ q0, 3)
      b3 = rotate(v128.xor(v128.load(SCRATCH, 16 * 16), d1), 45)
      a3 = rotl<u64>(load<u64>(SCRATCH, THIRD + 16 * 8) ^ q1, 45)
      b4 = rotate(v128.xor(v128.load(SCRATCH, 22 * 16), d2), 61)
      a4 = rotl<u64>(load<u64>(SCRATCH, THIRD + 22 * 8) ^ q2, 61)
      c2 = v128.xor(c2, (state.v7 = chi(b2, b3, b4)))
      p4 ^= state.w9 = a4 ^ (a0 & a1)
      c4 = v128.xor(c4, (state.v9 = chi(b4, b0, b1)))
      p1 ^= state.w6 = a1 ^ (a2 & a3)
      c3 = v128.xor(c3, (state.v8 = chi(b3, b4, b0)))
      p0 ^= state.w5 = a0 ^ (a1 | a2)
      c1 = v128.xor(c1, (state.v6 = chi(b1, b2, b3)))
      p3 ^= state.w8 = a3 ^ (a4 | a0)
      c0 = v128.xor(c0, (state.v5 = chi(b0, b1, b2)))
      p2 ^= state.w7 = a2 ^ (a3 | ~a4)

      b0 = rotate1(v128.xor(v128.load(SCRATCH, 1 * 16), d1))
      a0 = rotl<u64>(load<u64>(SCRATCH, THIRD + 1 * 8) ^ q1, 1)
      b1 = rotate(v128.xor(v128.load(SCRATCH, 7 * 16), d2), 6)
      a1 = rotl<u64>(load<u64>(SCRATCH, THIRD + 7 * 8) ^ q2, 6)
      b2 = rotate(v128.xor(v128.load(SCRATCH, 13 * 16), d3), 25)
      a2 = rotl<u64>(load<u64>(SCRATCH, THIRD + 13 * 8) ^ q3, 25)
      b3 = rotate(v128.xor(v128.load(SCRATCH, 19 * 16), d4), 8)
      a3 = rotl<u64>(load<u64>(SCRATCH, THIRD + 19 * 8) ^ q4, 8)
      b4 = rotate(v128.xor(v128.load(SCRATCH, 20 * 16), d0), 18)
      a4 = rotl<u64>(load<u64>(SCRATCH, THIRD + 20 * 8) ^ q0, 18)
      c2 = v128.xor(c2, (state.v12 = chi(b2, b3, b4)))
      let n = ~a3
      c4 = v128.xor(c4, (state.v14 = chi(b4, b0, b1)))
      p4 ^= state.w14 = a4 ^ (a0 & a1)
      c3 = v128.xor(c3, (state.v13 = chi(b3, b4, b0)))
      p1 ^= state.w11 = a1 ^ (a2 & a3)
      c1 = v128.xor(c1, (state.v11 = chi(b1, b2, b3)))
      p0 ^= state.w10 = a0 ^ (a1 | a2)
      c0 = v128.xor(c0, (state.v10 = chi(b0, b1, b2)))
      p3 ^= state.w13 = n ^ (a4 | a0)
      p2 ^= state.w12 = a2 ^ (n & a4)

      b0 = rotate(v128.xor(v128.load(SCRATCH, 4 * 16), d4), 27)
      a0 = rotl<u64>(load<u64>(SCRATCH, THIRD + 4 * 8) ^ q4, 27)
      b1 = rotate(v128.xor(v128.load(SCRATCH, 5 * 16), d0), 36)
      a1 = rotl<u64>(load<u64>(SCRATCH, THIRD + 5 * 8) ^ q0, 36)
      b2 = rotate(v128.xor(v128.load(SCRATCH, 11 * 16), d1), 10)
      a2 = rotl<u64>(load<u64>(SCRATCH, THIRD + 11 * 8) ^ q1, 10)
      b3 = rotate(v128.xor(v128.load(SCRATCH, 17 * 16), d2), 15)
      a3 = rotl<u64>(load<u64>(SCRATCH, THIRD + 17 * 8) ^ q2, 15)
      b4 = rotate(v128.xor(v128.load(SCRATCH, 23 * 16), d3), 56)
      a4 = rotl<u64>(load<u64>(SCRATCH, THIRD + 23 * 8) ^ q3, 56)
      c2 = v128.xor(c2, (state.v17 = chi(b2, b3, b4)))
      n = ~a3
      c4 = v128.xor(c4, (state.v19 = chi(b4, b0, b1)))
      p4 ^= state.w19 = a4 ^ (a0 | a1)
      c3 = v128.xor(c3, (state.v18 = chi(b3, b4, b0)))
      p1 ^= state.w16 = a1 ^ (a2 | a3)
      c1 = v128.xor(c1, (state.v16 = chi(b1, b2, b3)))
      p0 ^= state.w15 = a0 ^ (a1 & a2)
      c0 = v128.xor(c0, (state.v15 = chi(b0, b1, b2)))
      p3 ^= state.w18 = n ^ (a4 & a0)
      p2 ^= state.w17 = a2 ^ (n | a4)

      b0 = rotate(v128.xor(v128.load(SCRATCH, 2 * 16), d2), 62)
      a0 = rotl<u64>(load<u64>(SCRATCH, THIRD + 2 * 8) ^ q2, 62)
      b1 = rotate(v128.xor(v128.load(SCRATCH, 8 * 16), d3), 55)
      a1 = rotl<u64>(load<u64>(SCRATCH, THIRD + 8 * 8) ^ q3, 55)
      b2 = rotate(v128.xor(v128.load(SCRATCH, 14 * 16), d4), 39)
      a2 = rotl<u64>(load<u64>(SCRATCH, THIRD + 14 * 8) ^ q4, 39)
      b3 = rotate(v128.xor(v128.load(SCRATCH, 15 * 16), d0), 41)
      a3 = rotl<u64>(load<u64>(SCRATCH, THIRD + 15 * 8) ^ q0, 41)
      b4 = rotate(v128.xor(v128.load(SCRATCH, 21 * 16), d1), 2)
      a4 = rotl<u64>(load<u64>(SCRATCH, THIRD + 21 * 8) ^ q1, 2)
      c2 = v128.xor(c2, (state.v22 = chi(b2, b3, b4)))
      n = ~a1
      c4 = v128.xor(c4, (state.v24 = chi(b4, b0, b1)))
      p4 ^= state.w24 = a4 ^ (a0 & a1)
      c3 = v128.xor(c3, (state.v23 = chi(b3, b4, b0)))
      p1 ^= state.w21 = n ^ (a2 | a3)
      c1 = v128.xor(c1, (state.v21 = chi(b1, b2, b3)))
      p0 ^= state.w20 = a0 ^ (n & a2)
      c0 = v128.xor(c0, (state.v20 = chi(b0, b1, b2)))
      p3 ^= state.w23 = a3 ^ (a4 | a0)
      p2 ^= state.w22 = a2 ^ (a3 & a4)
    }
  }
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

// ── Three messages at once ───────────────────────────────────────────────────────────────────────────────────────────────

/** Starts three messages with their first `count` words, which are at `a`, `a + stride` and `a + 2 * stride`. */
function start(a: usize, stride: usize, count: usize): void {
  const b = a + stride
  const c = b + stride
  let i: usize = 0
  for (; i < count * 8; i += 8) {
    v128.store(STATE + 2 * i, v128.load64_lane(b + i, v128.load64_zero(a + i), 1))
    store<u64>(STATE + i, load<u64>(c + i), THIRD)
  }
  for (; i < 25 * 8; i += 8) {
    v128.store(STATE + 2 * i, i64x2.splat(0))
    store<u64>(STATE + i, 0, THIRD)
  }
  const state = changetype<State>(STATE)
  state.w1 = ~state.w1
  state.w2 = ~state.w2
  state.w8 = ~state.w8
  state.w12 = ~state.w12
  state.w17 = ~state.w17
  state.w20 = ~state.w20
}

/** Adds their next `count` words. */
function absorb(a: usize, stride: usize, count: usize): void {
  const b = a + stride
  const c = b + stride
  for (let i: usize = 0; i < count * 8; i += 8) {
    const pair = v128.load64_lane(b + i, v128.load64_zero(a + i), 1)
    v128.store(STATE + 2 * i, v128.xor(v128.load(STATE + 2 * i), pair))
    store<u64>(STATE + i, load<u64>(STATE + i, THIRD) ^ load<u64>(c + i), THIRD)
  }
}

/** Adds `value` to lane i of all three. */
function mix(i: usize, value: u64): void {
  v128.store(STATE + i * 16, v128.xor(v128.load(STATE + i * 16), i64x2.splat(value)))
  store<u64>(STATE + i * 8, load<u64>(STATE + i * 8, THIRD) ^ value, THIRD)
}

/** Ends messages whose last block has `i` lanes, and writes the hashes at `out`. */
function finish(i: usize, out: usize): void {
  mix(i, FIRST_BIT)
  mix(RATE / 8 - 1, LAST_BIT)
  permute()
  const state = changetype<State>(STATE)
  state.w1 = ~state.w1
  state.w2 = ~state.w2
  for (let lane: usize = 0; lane < 4; lane++) {
    const pair = v128.load(STATE + lane * 16)
    v128.store64_lane(out, pair, 0)
    v128.store64_lane(out, pair, 1, HASH)
    store<u64>(out, load<u64>(STATE + lane * 8, THIRD), 2 * HASH)
    out += 8
  }
}

/** Hashes of three 256-byte chunks at `a` into the 96 bytes at `out`. */
function hashChunks(a: usize, out: usize): void {
  start(a, CHUNK, 17)
  permute()
  absorb(a + RATE, CHUNK, 15)
  finish(15, out)
}

/** Hashes of three pairs of hashes at `a` into the 96 bytes at `out`. */
function hashPairs(a: usize, out: usize): void {
  start(a, 2 * HASH, 8)
  finish(8, out)
}

// ── Trees ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

// Everything happens in place: a row writes 96 bytes where it has read at least 192. The last permutation of a row may have one
// or two messages, and whatever lies behind them: those hashes are written over bytes no longer needed. (Three hashes are one
// pair, and its permutation writes over the third: so an odd last hash is put aside.)

/** One level up: `count` hashes at 0 become ceil(count / 2) at 0, an odd last one is carried unchanged. Returns that count. */
export function level(count: i32): i32 {
  const pairs = count >> 1
  if (count & 1) memory.copy(ODD, <usize>count * 32 - 32, HASH)
  for (let i = 0; i < pairs; i += 3) hashPairs(<usize>i * 64, <usize>i * 32)
  if (count & 1) memory.copy(<usize>pairs * 32, ODD, HASH)
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
  for (let i = 0; i < real; i += 3) hashChunks(<usize>i * CHUNK, <usize>i * HASH)

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

// All three messages are this one, and the first is read. (The third is nothing: its complements are not set.)

export function keccakStart(): void {
  memory.fill(STATE, 0, STATE_SIZE)
}

/** Absorbs `blockCount` × 136 bytes at 0. */
export function keccakAbsorb(blockCount: i32): void {
  const end = <usize>blockCount * RATE
  for (let at: usize = 0; at < end; at += RATE) {
    absorb(at, 0, 17)
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
  for (let lane: usize = 0; lane < 4; lane++) store<u64>(lane * 8, load<u64>(STATE + lane * 16))
}

// At instantiation the memory is zero: the first leaf of ZERO is the chunk at 0.
hashChunks(0, PAIR)
for (let height = 0; height < HEIGHT_MAX; height++) {
  memory.copy(ZERO + <usize>height * HASH, PAIR, HASH)
  memory.copy(PAIR + HASH, PAIR, HASH)
  hashPairs(PAIR, PAIR)
}
