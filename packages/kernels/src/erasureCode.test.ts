import { describe, expect, test } from 'vitest'
import { combineScalar } from './combination.ts'
import { encodingCombination, isCodeword, PATTERNS_MAX, recoveryCombination } from './erasureCode.ts'
import type { ErasureCode, KnownShard } from './erasureCode.ts'
import { inverse } from './gf256.ts'

describe('encoding', () => {
  test('the coefficient of data i in parity j is inv((k + j) ^ i)', () => {
    const code = { k: 29, m: 51 }
    const { coefficients } = encodingCombination({ code, data: rows(29), parity: rows(51) })
    expect(coefficients).toHaveLength(29 * 51)
    for (let j = 0; j < 51; j++) {
      for (let i = 0; i < 29; i++) expect(coefficients[j * 29 + i]).toBe(inverse((29 + j) ^ i))
    }
  })

  test('absent data has no input, and leaves the coefficients of the others', () => {
    const code = { k: 4, m: 2 }
    const [a, b, c, d] = rows(4)
    const whole = encodingCombination({ code, data: [a, b, c, d], parity: rows(2) }).coefficients
    const { inputs, coefficients } = encodingCombination({ code, data: [a, undefined, c, undefined], parity: rows(2) })
    expect(inputs).toEqual([a, c])
    expect([...coefficients]).toEqual([whole[0], whole[2], whole[4], whole[6]])
  })
})

describe('recovery', () => {
  test('from the data alone it is encoding', () => {
    const code = { k: 10, m: 4 }
    const data = rows(10)
    const parity = rows(4)
    const encoding = encodingCombination({ code, data, parity })
    const wanted = parity.map((into, j) => ({ slot: 10 + j, into }))
    const shards = [...data, ...parity.map(() => undefined)]
    expect(recoveryCombination({ code, shards, wanted }).coefficients).toEqual(encoding.coefficients)
  })

  test('zeros are taken first and have no input, then data', () => {
    const shards: KnownShard[] = [undefined, row(1), 'zero', row(3), row(4), 'zero']
    const { inputs } = recoveryCombination({ code: { k: 3, m: 3 }, shards, wanted: [{ slot: 0, into: row(0) }] })
    expect(inputs).toEqual([shards[1]])
  })

  test('matrices of more patterns than are kept are made again, and are the same', () => {
    const code = { k: 20, m: 4 }
    const coefficientsOf = (missing: number): Uint8Array => {
      const shards = rows(24).map((shard, slot) => (slot === missing ? undefined : shard))
      return recoveryCombination({ code, shards, wanted: [{ slot: missing, into: row(0) }] }).coefficients
    }
    const first = coefficientsOf(0).slice()
    expect(PATTERNS_MAX).toBeLessThan(20 * 4)
    for (let round = 0; round < 4; round++) {
      for (let missing = 0; missing < 24; missing++) {
        const shards = rows(24).map((shard, slot) => (slot === missing || slot === 23 - round ? undefined : shard))
        if (missing !== 23 - round) recoveryCombination({ code, shards, wanted: [{ slot: missing, into: row(0) }] })
      }
    }
    expect(coefficientsOf(0)).toEqual(first)
  })
})

describe('a codeword', () => {
  const code = { k: 3, m: 3 }
  const stripe = [row(9), row(5), row(7), row(0), row(0), row(0)]
  combineScalar(encodingCombination({ code, data: stripe.slice(0, 3), parity: stripe.slice(3) }))

  test('is one in whatever part of it is known, from one row more than k on', () => {
    for (let mask = 0; mask < 64; mask++) {
      const known = stripe.map((shard, slot) => (mask & (1 << slot) ? shard : undefined))
      const count = known.filter((shard) => shard !== undefined).length
      if (count > 3) expect(isCodeword(code, known)).toBe(true)
      else expect(() => isCodeword(code, known)).toThrow(RangeError)
    }
  })

  test('is none with any bit of any row flipped', () => {
    for (let slot = 0; slot < 6; slot++) {
      for (let bit = 0; bit < 32; bit++) {
        const wrong = stripe.map((shard) => shard.slice())
        wrong[slot]![bit >> 3]! ^= 1 << (bit & 7)
        expect(isCodeword(code, wrong)).toBe(false)
        expect(isCodeword(code, wrong.with(slot === 0 ? 1 : 0, undefined as never))).toBe(false)
      }
    }
  })

  test('of a short stripe has zeros in the places of what is absent', () => {
    const short = [row(9), row(0), row(0), row(0)]
    combineScalar(encodingCombination({ code, data: [short[0], undefined, undefined], parity: short.slice(1) }))
    const known = (head: KnownShard): KnownShard[] => [head, 'zero', 'zero', ...short.slice(1)]
    expect(isCodeword(code, known(short[0]))).toBe(true)
    expect(isCodeword(code, known(row(8)))).toBe(false)
    expect(isCodeword(code, known('zero'))).toBe(false)
    expect(isCodeword(code, ['zero', 'zero', 'zero', 'zero', undefined, undefined])).toBe(true)
    expect(isCodeword(code, ['zero', 'zero', 'zero', row(1), undefined, undefined])).toBe(false)
    expect(isCodeword(code, [row(1), row(2), row(3), 'zero', undefined, undefined])).toBe(false)
  })
})

describe('is refused:', () => {
  const code = { k: 2, m: 2 }
  const [a, b, c] = rows(3)
  const encode = (code: ErasureCode, data: readonly (Uint8Array | undefined)[], parity: readonly Uint8Array[]) => () =>
    encodingCombination({ code, data, parity })
  const recover =
    (shards: readonly KnownShard[], ...slots: readonly number[]) =>
    () =>
      recoveryCombination({ code, shards, wanted: slots.map((slot) => ({ slot, into: row(0) })) })

  test.each<[string, () => unknown]>([
    ['a code without data', encode({ k: 0, m: 2 }, [], rows(2))],
    ['a code without parity', encode({ k: 2, m: 0 }, rows(2), [])],
    ['more than 256 slots', encode({ k: 200, m: 57 }, rows(200), rows(57))],
    ['half a shard', encode({ k: 1.5, m: 1 }, rows(1), rows(1))],
    ['too few data shards', encode(code, rows(1), rows(2))],
    ['too few parity shards', encode(code, rows(2), rows(1))],
    ['shards of two lengths', encode(code, [a, b!.subarray(1)], rows(2))],
    ['parity of another length', encode(code, rows(2), [a!, b!.subarray(1)])],
    ['empty shards', encode(code, [], [])],
    ['too few places', recover([a, b, undefined], 2)],
    ['too many places', recover([a, b, undefined, undefined, undefined], 2)],
    ['fewer than k shards', recover([a, undefined, undefined, undefined], 1)],
    ['no wish', recover(['zero', 'zero', undefined, undefined])],
    ['a wish for what is there', recover([a, b, c, undefined], 0)],
    ['a wish for what is zero', recover([a, b, 'zero', undefined], 2)],
    ['a wish for no slot', recover([a, b, undefined, undefined], 4)],
    ['a wish for half a slot', recover([a, b, undefined, undefined], 2.5)],
    ['one wish twice', recover([a, b, undefined, undefined], 2, 2)],
    ['a shard of another length', recover([a, b, c!.subarray(1), undefined], 3)],
    ['rows of two lengths', () => isCodeword(code, [a, b, c!.subarray(1), undefined])],
    ['a row too few', () => isCodeword(code, [a, b, c])],
  ])('%s', (_, call) => {
    expect(call).toThrow(RangeError)
  })
})

function rows(count: number): Uint8Array[] {
  return Array.from({ length: count }, (_, i) => row(i + 1))
}

function row(seed: number): Uint8Array {
  return Uint8Array.of(seed, 3 * seed, 7 * seed + 1, 250 - seed)
}
