import { describe, expect, test, vi } from 'vitest'
import targets from '../targets.json' with { type: 'json' }
import vectors from '../../../sim/vectors/erasure.json' with { type: 'json' }
import { createErasureKernel, defaultErasureKernel } from './erasure.ts'
import type { ErasureKernel, ErasureTier } from './erasure.ts'
import { isCodeword } from './erasureCode.ts'
import type { ErasureCode, KnownShard } from './erasureCode.ts'
import { fingerprintPoint } from './fingerprint.ts'
import { reedSolomonWasm } from './generated/reedSolomon.wasm.ts'
import { reedSolomonRelaxedWasm } from './generated/reedSolomonRelaxed.wasm.ts'
import { keccak256 } from './index.ts'
import { withRelaxedSimd } from '../test/withRelaxedSimd.ts'

const tiers: readonly ErasureTier[] = ['relaxed', 'simd', 'scalar']

describe.each(tiers)('%s erasure kernel', (tier) => {
  const kernel = withRelaxedSimd(() => createErasureKernel(tier))

  // The plain twin takes seconds for whole segments: those are left to the fast tier.
  const isShort = ({ sizeBytes }: { readonly sizeBytes: number }): boolean => tier !== 'scalar' || sizeBytes <= 10_000

  test.each(vectors.codes.filter(isShort))(
    '$k+$m has the parity of the vectors',
    ({ k, m, present, sizeBytes, parity, hash }) => {
      const data = dataOf({ k, m }, sizeBytes).map((shard, i) => (i < present ? shard : undefined))
      const encoded = Array.from({ length: m }, () => new Uint8Array(sizeBytes).fill(0xee))
      kernel.encodeParity({ code: { k, m }, data, parity: encoded })
      if (parity !== undefined) expect(encoded.map(hex)).toEqual(parity)
      expect(hex(keccak256(Buffer.concat(encoded)))).toBe(hash)
    },
  )

  test.each(vectors.fingerprints.filter(isShort))('$sizeBytes bytes have the fingerprint of the vectors', (vector) => {
    const point = fingerprintPoint(bytes(vector.dataRoot), bytes(vector.parityRoot))
    expect(hex(point)).toBe(vector.point)
    expect(hex(kernel.fingerprint(point, xorshift32(vector.sizeBytes)))).toBe(vector.fingerprint)
  })

  test('every k shards of every code of at most eight give all others', () => {
    let patterns = 0
    for (let k = 1; k < 8; k++) {
      for (let m = 1; k + m <= 8; m++) {
        const stripe = stripeOf(kernel, { k, m }, 5)
        for (let mask = 0; mask < 1 << (k + m); mask++) {
          const known = [...stripe.keys()].filter((slot) => mask & (1 << slot))
          if (known.length < k) continue
          expectRecovery(kernel, { k, m }, stripe, known)
          patterns++
        }
      }
    }
    expect(patterns).toBe(1785)
  })

  test.each([
    [10, 4],
    [29, 51],
    [64, 64],
    [200, 56],
    [121, 135],
    [129, 127],
    [1, 255],
    [255, 1],
  ])('any k shards of %i+%i give all others, and so do more', (k, m) => {
    const stripe = stripeOf(kernel, { k, m }, 7)
    for (let round = 0; round < (k + m > 100 ? 4 : 40); round++) {
      expectRecovery(kernel, { k, m }, stripe, someOf(k + m, k + (round % 3 === 2 ? round % m : 0), round))
    }
  })

  test('one lost shard comes back from whichever k of the others are there', () => {
    const code = { k: 4, m: 3 }
    const stripe = stripeOf(kernel, code, 40)
    for (const slot of [0, 5]) {
      for (let mask = 0; mask < 128; mask++) {
        const shards = stripe.map((shard, at) => (at !== slot && mask & (1 << at) ? shard : undefined))
        if (shards.filter((shard) => shard !== undefined).length < 4) continue
        const into = new Uint8Array(40)
        kernel.recover({ code, shards, wanted: [{ slot, into }] })
        expect(into).toEqual(stripe[slot])
      }
    }
  })

  test('a short stripe recovers from its zeros', () => {
    const code = { k: 10, m: 4 }
    const data = dataOf(code, 100).map((shard, i) => (i < 3 ? shard : undefined))
    const parity = Array.from({ length: 4 }, () => new Uint8Array(100))
    kernel.encodeParity({ code, data, parity })
    const zeros = Array.from({ length: 7 }, () => 'zero' as const)
    const shards: KnownShard[] = [undefined, undefined, undefined, ...zeros, parity[0], undefined, parity[2], parity[3]]
    const wanted = [0, 1, 2, 11].map((slot) => ({ slot, into: new Uint8Array(100) }))
    kernel.recover({ code, shards, wanted })
    expect(wanted.map(({ into }) => into)).toEqual([data[0], data[1], data[2], parity[1]])
  })

  test('views of shared memory at any offset are taken and given, and input is left as it is', () => {
    const code = { k: 5, m: 3 }
    const memory = new Uint8Array(new SharedArrayBuffer(8 * 1001 + 3))
    const stripe = Array.from({ length: 8 }, (_, slot) => memory.subarray(3 + slot * 1001, 3 + (slot + 1) * 1001))
    for (const [i, shard] of dataOf(code, 1001).entries()) stripe[i]!.set(shard)
    kernel.encodeParity({ code, data: stripe.slice(0, 5), parity: stripe.slice(5) })
    expect(stripe.map((shard) => shard.slice())).toEqual(stripeOf(kernel, code, 1001))
    const point = fingerprintPoint(new Uint8Array(32), new Uint8Array(32))
    expect(kernel.fingerprint(point, stripe[0]!)).toEqual(kernel.fingerprint(point, stripe[0]!.slice()))
    expectRecovery(kernel, code, stripe, [1, 3, 5, 6, 7])
    expect(stripe.map((shard) => shard.slice())).toEqual(stripeOf(kernel, code, 1001))
  })

  test('a stripe after a larger one is not touched by what that left behind', () => {
    const small = stripeOf(kernel, { k: 3, m: 2 }, 33)
    stripeOf(kernel, { k: 6, m: 5 }, 70_000)
    const point = fingerprintPoint(new Uint8Array(32).fill(1), new Uint8Array(32))
    const before = kernel.fingerprint(point, small[0]!)
    kernel.fingerprint(point, xorshift32(tier === 'scalar' ? 5_000 : 262_144))
    expect(kernel.fingerprint(point, small[0]!)).toEqual(before)
    expect(stripeOf(kernel, { k: 3, m: 2 }, 33)).toEqual(small)
  })

  test('fingerprints of a stripe are a codeword, and those of a stripe with one wrong bit are none', () => {
    const code = { k: 4, m: 2 }
    const stripe = stripeOf(kernel, code, 1000)
    const point = fingerprintPoint(new Uint8Array(32).fill(7), new Uint8Array(32).fill(9))
    const fingerprints = stripe.map((shard) => kernel.fingerprint(point, shard))
    expect(isCodeword(code, fingerprints)).toBe(true)
    for (const bit of [0, 1, 129, 4000, 7999]) {
      const wrong = stripe[2]!.slice()
      wrong[bit >> 3]! ^= 1 << (bit & 7)
      expect(isCodeword(code, fingerprints.with(2, kernel.fingerprint(point, wrong)))).toBe(false)
    }
  })

  test('zeros at the end of a shard change no fingerprint', () => {
    const point = fingerprintPoint(new Uint8Array(32).fill(3), new Uint8Array(32))
    for (const sizeBytes of [0, 1, 15, 16, 17, 63, 64, 4031, 4032, 4033, 5000]) {
      const extended = new Uint8Array(8192)
      extended.set(xorshift32(sizeBytes))
      const fingerprint = kernel.fingerprint(point, xorshift32(sizeBytes))
      expect(kernel.fingerprint(point, extended)).toEqual(fingerprint)
      expect(kernel.fingerprint(point, extended.subarray(0, sizeBytes + 1))).toEqual(fingerprint)
    }
  })

  test.each<[string, (kernel: ErasureKernel) => unknown]>([
    ['a point that is none', (k) => k.fingerprint(new Uint8Array(15), new Uint8Array(1))],
    ['a shard beyond a segment', (k) => k.fingerprint(new Uint8Array(16), new Uint8Array(262_145))],
    ['roots that are none', () => fingerprintPoint(new Uint8Array(31), new Uint8Array(32))],
    ['shards that are too few', (k) => k.recover({ code: { k: 2, m: 1 }, shards: [], wanted: [] })],
    ['a code that is none', (k) => k.encodeParity({ code: { k: 0, m: 1 }, data: [], parity: [new Uint8Array(1)] })],
  ])('%s is refused', (_, call) => {
    expect(() => call(kernel)).toThrow(RangeError)
  })
})

describe('the committed kernel', () => {
  test('keeps the size that browsers compile at once on their main thread', () => {
    expect(atob(reedSolomonWasm).length).toBeLessThanOrEqual(targets.reedSolomon.maxBytes)
    expect(atob(reedSolomonRelaxedWasm).length).toBeLessThanOrEqual(targets.reedSolomonRelaxed.maxBytes)
    expect([targets.reedSolomon.maxBytes, targets.reedSolomonRelaxed.maxBytes]).toEqual([4096, 4096])
  })

  test('is made at first use, once', async () => {
    vi.resetModules()
    const compiled = vi.spyOn(WebAssembly, 'Module')
    try {
      const fresh = await import('./index.ts')
      expect(compiled).not.toHaveBeenCalled()
      expect(withRelaxedSimd(fresh.defaultErasureKernel).tier).toBe('relaxed')
      expect(fresh.defaultErasureKernel()).toBe(fresh.defaultErasureKernel())
      expect(compiled).toHaveBeenCalledOnce()
    } finally {
      compiled.mockRestore()
    }
  })

  test('gives way to that of plain SIMD where relaxed SIMD is missing', async () => {
    const { Module } = WebAssembly
    const compiled = vi.spyOn(WebAssembly, 'Module').mockImplementation(function (code) {
      if (Buffer.from(code as Uint8Array).toString('base64') === reedSolomonRelaxedWasm)
        throw new WebAssembly.CompileError('simd opcode not available')
      return new Module(code)
    })
    vi.resetModules()
    try {
      const fresh = await import('./index.ts')
      expect(fresh.defaultErasureKernel().tier).toBe('simd')
      expect(fresh.compileErasure()).toBeInstanceOf(Module)
      expect(() => fresh.createErasureKernel('relaxed')).toThrow('not available')
    } finally {
      compiled.mockRestore()
    }
  })

  test('gives way to the plain twin where WASM does not compile', async () => {
    const refuse = class {
      constructor() {
        throw new RangeError('not on this thread')
      }
    }
    vi.stubGlobal('WebAssembly', { Module: refuse })
    vi.resetModules()
    try {
      const fresh = await import('./erasure.ts')
      expect(fresh.defaultErasureKernel().tier).toBe('scalar')
      expect(() => fresh.createErasureKernel('simd')).toThrow('not on this thread')
    } finally {
      vi.unstubAllGlobals()
    }
    expect(defaultErasureKernel().tier).not.toBe('scalar')
  })
})

/** Everything that is not known comes back, from whichever k of the known ones the kernel takes. */
function expectRecovery(
  kernel: ErasureKernel,
  code: ErasureCode,
  stripe: readonly Uint8Array[],
  known: readonly number[],
): void {
  const isKnown = new Set(known)
  const shards = stripe.map((shard, slot) => (isKnown.has(slot) ? shard : undefined))
  const wanted = stripe.flatMap((shard, slot) =>
    isKnown.has(slot) ? [] : [{ slot, into: new Uint8Array(shard.length).fill(0xee) }],
  )
  if (wanted.length === 0) return
  kernel.recover({ code, shards, wanted })
  const wrong = wanted.filter(({ slot, into }) => Buffer.compare(into, stripe[slot]!) !== 0)
  expect({ known, wrong: wrong.map(({ slot }) => slot) }).toEqual({ known, wrong: [] })
}

function stripeOf(kernel: ErasureKernel, code: ErasureCode, sizeBytes: number): Uint8Array[] {
  const data = dataOf(code, sizeBytes)
  const parity = Array.from({ length: code.m }, () => new Uint8Array(sizeBytes))
  kernel.encodeParity({ code, data, parity })
  return [...data, ...parity]
}

function dataOf({ k }: ErasureCode, sizeBytes: number): Uint8Array[] {
  const all = xorshift32(k * sizeBytes)
  return Array.from({ length: k }, (_, i) => all.slice(i * sizeBytes, (i + 1) * sizeBytes))
}

/** `count` of the slots below `slotCount`, in order. */
function someOf(slotCount: number, count: number, seed: number): number[] {
  const slots = Array.from({ length: slotCount }, (_, slot) => slot)
  const chances = xorshift32(slotCount * (seed + 1)).subarray(slotCount * seed)
  return slots
    .sort((a, b) => chances[a]! - chances[b]! || a - b)
    .slice(0, count)
    .sort((a, b) => a - b)
}

function xorshift32(sizeBytes: number): Uint8Array {
  let x = 0x12345678
  return Uint8Array.from({ length: sizeBytes }, () => {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    return x & 0xff
  })
}

const hex = (data: Uint8Array): string => `0x${Buffer.from(data).toString('hex')}`
const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text.slice(2), 'hex'))
