import { check } from './check.ts'
import { checkRows, combineScalar } from './combination.ts'
import type { Combination } from './combination.ts'
import { inverse, LOGARITHMS, POWERS } from './gf256.ts'
import { createRecent } from './recent.ts'

/** Systematic Reed–Solomon with a Cauchy matrix: k data shards, m parity shards, k + m ≤ 256. A slot is a shard's place in its
 *  stripe: data shard i has slot i, parity shard j has slot k + j. Any k shards of a stripe give all others. The coefficient of
 *  data i in parity j is inv((k + j) ^ i). DESIGN D6, docs/erasure.md 2. */
export type ErasureCode = { readonly k: number; readonly m: number }

/** All m parity shards from the k data shards. `undefined` is a shard of zeros, which nobody stores: those that the last stripe
 *  of an object lacks. */
export type Encoding = {
  readonly code: ErasureCode
  readonly data: readonly (Uint8Array | undefined)[]
  readonly parity: readonly Uint8Array[]
}

/** Missing shards from k others. By slot: the bytes, `'zero'` for a shard that is known to be all zeros, `undefined` for one that
 *  is missing. `wanted` are any of the missing ones. */
export type Recovery = {
  readonly code: ErasureCode
  readonly shards: readonly KnownShard[]
  readonly wanted: readonly WantedShard[]
}
export type KnownShard = Uint8Array | 'zero' | undefined
export type WantedShard = { readonly slot: number; readonly into: Uint8Array }

export const SLOTS_MAX = 256
/** Matrices kept, those used last: each has at most 128 · 128 bytes, so all of them at most 1 MiB. */
export const PATTERNS_MAX = 64

export function encodingCombination({ code, data, parity }: Encoding): Combination {
  checkCode(code)
  const { k, m } = code
  check(data.length === k && parity.length === m, 'there are k data shards and m parity shards')
  const inputs = data.filter((shard) => shard !== undefined)
  checkRows([...inputs, ...parity])
  const coefficients = new Uint8Array(inputs.length * m)
  let at = 0
  for (let slot = k; slot < k + m; slot++) {
    for (let i = 0; i < k; i++) if (data[i] !== undefined) coefficients[at++] = inverse(slot ^ i)
  }
  return { coefficients, inputs, outputs: parity }
}

export function recoveryCombination({ code, shards, wanted }: Recovery): Combination {
  checkCode(code)
  const slotCount = code.k + code.m
  check(shards.length === slotCount, 'there is a place for each of the k + m shards')
  const wantedSlots = wanted.map(({ slot }) => slot)
  check(new Set(wantedSlots).size === wantedSlots.length, 'a shard is wanted once')
  const isMissing = (slot: number): boolean => isSlot(code, slot) && shards[slot] === undefined
  check(wantedSlots.every(isMissing), 'what is wanted is missing')
  const known = knownSlots(code, shards)
  check(known.length === code.k, 'k shards are there')
  const rows = known.map((slot) => shards[slot] as Uint8Array | 'zero')
  const outputs = wanted.map(({ into }) => into)
  const inputs = rows.filter((row) => row !== 'zero')
  checkRows([...inputs, ...outputs, ...shards.filter((shard) => shard instanceof Uint8Array)])
  const all = recoveryCoefficients(code, known, wantedSlots)
  return { coefficients: all.filter((_, at) => rows[at % code.k] !== 'zero'), inputs, outputs }
}

/** Whether all known rows, more than k of them, belong to one codeword: shards, or what is linear in them, as fingerprints are. */
export function isCodeword(code: ErasureCode, rows: readonly KnownShard[]): boolean {
  checkCode(code)
  check(rows.length === code.k + code.m, 'there is a place for each of the k + m rows')
  const known = knownSlots(code, rows)
  const isChosen = new Set(known)
  const others = rows.flatMap((row, slot) => (row === undefined || isChosen.has(slot) ? [] : [{ slot, row }]))
  check(others.length > 0, 'with k rows or fewer any values are a codeword')
  const given = rows.filter((row) => row instanceof Uint8Array)
  if (given.length === 0) return true
  checkRows(given)
  const sizeBytes = given[0]!.length
  const wanted = others.map(({ slot }) => ({ slot, into: new Uint8Array(sizeBytes) }))
  const shards = rows.map((row, slot) => (isChosen.has(slot) ? row : undefined))
  combineScalar(recoveryCombination({ code, shards, wanted }))
  // A zero is among the others only when the k chosen are zeros too: then it is what they make.
  return others.every(({ row }, i) => row === 'zero' || wanted[i]!.into.every((byte, at) => byte === row[at]))
}

function checkCode({ k, m }: ErasureCode): void {
  const isCount = (count: number): boolean => Number.isInteger(count) && count >= 1
  check(isCount(k) && isCount(m) && k + m <= SLOTS_MAX, 'a code has k ≥ 1, m ≥ 1 and k + m ≤ 256')
}

function isSlot({ k, m }: ErasureCode, slot: number): boolean {
  return Number.isInteger(slot) && slot >= 0 && slot < k + m
}

/** The k slots to compute from, if so many are known: zeros cost nothing, data comes next. */
function knownSlots({ k }: ErasureCode, shards: readonly KnownShard[]): number[] {
  const zeros: number[] = []
  const others: number[] = []
  for (const [slot, shard] of shards.entries()) {
    if (shard === 'zero') zeros.push(slot)
    else if (shard !== undefined) others.push(slot)
  }
  return [...zeros, ...others].slice(0, k)
}

const recent = createRecent<Uint8Array>(PATTERNS_MAX)

/** A row of k coefficients for each wanted slot. */
function recoveryCoefficients(code: ErasureCode, known: readonly number[], wanted: readonly number[]): Uint8Array {
  return recent.get(`${code.k} ${known.join()} ${wanted.join()}`, () => computeCoefficients(code, known, wanted))
}

// No matrix is inverted. With Λ(z) = Π_{i<k} (z + i), the parity equations say that P(z) = Λ(z)·Σᵢ dataᵢ/(z + i), of degree below
// k, has the values P(s) = u(s)·shard(s) in all slots, u(s) = Π_{i<k, i≠s} (s + i). So any k shards give every other one by
// Lagrange's formula: its coefficients are u(s)/u(w) · Π_{t≠s} (w + t)/(s + t), over the known slots t.
function computeCoefficients({ k }: ErasureCode, known: readonly number[], wanted: readonly number[]): Uint8Array {
  const dataSlots = Array.from({ length: k }, (_, i) => i)
  const weights = known.map((slot) => logarithmOfProduct(slot, dataSlots) - logarithmOfProduct(slot, known))
  const coefficients = new Uint8Array(wanted.length * k)
  let at = 0
  for (const slot of wanted) {
    const shared = logarithmOfProduct(slot, known) - logarithmOfProduct(slot, dataSlots)
    for (const [i, other] of known.entries()) {
      const logarithm = (shared + weights[i]! - LOGARITHMS[slot ^ other]!) % 255
      coefficients[at++] = POWERS[logarithm + 255]!
    }
  }
  return coefficients
}

/** Of the differences between `slot` and each of `slots` but itself. */
function logarithmOfProduct(slot: number, slots: readonly number[]): number {
  let sum = 0
  for (const other of slots) if (other !== slot) sum += LOGARITHMS[slot ^ other]!
  return sum
}
