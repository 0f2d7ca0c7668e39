import { combineScalar } from './combination.ts'
import type { Combination } from './combination.ts'
import { encodingCombination, recoveryCombination } from './erasureCode.ts'
import type { Encoding, Recovery } from './erasureCode.ts'
import { compileErasureTier, instantiateErasure } from './erasureSimd.ts'
import { checkShards, FINGERPRINT_SIZE_BYTES, fingerprintScalar } from './fingerprint.ts'
import { check } from './check.ts'
import type { Tier } from './kernel.ts'

/** From the fastest to the one that works everywhere. `relaxed` is WASM with relaxed SIMD. */
export type ErasureTier = 'relaxed' | Tier

/** Reed–Solomon and fingerprints of shards. All functions are synchronous, leave their input as it is, and accept views of a
 *  SharedArrayBuffer; outputs must not overlap inputs. Input of an impossible shape is the caller's bug and throws a
 *  RangeError. */
export type ErasureKernel = {
  readonly tier: ErasureTier
  encodeParity(encoding: Encoding): void
  recover(recovery: Recovery): void
  /** 16 bytes, of a shard of at most 262144 bytes. Zeros at its end do not change it. `point` is of `fingerprintPoint`. */
  fingerprint(point: Uint8Array, shard: Uint8Array): Uint8Array
  /** What `encodingCombination` and `recoveryCombination` give; for who splits the work. */
  combine(combination: Combination): void
}

export type ErasurePrimitives = {
  combine(combination: Combination): void
  fingerprint(point: Uint8Array, shard: Uint8Array): Uint8Array
}

/** A kernel of a given tier; `relaxed` and `simd` throw where the engine has no such instructions. */
export function createErasureKernel(tier: ErasureTier): ErasureKernel {
  const { combine, fingerprint }: ErasurePrimitives =
    tier === 'scalar'
      ? { combine: combineScalar, fingerprint: fingerprintScalar }
      : instantiateErasure(compileErasureTier(tier))
  return {
    tier,
    combine,
    encodeParity: (encoding) => combine(encodingCombination(encoding)),
    recover: (recovery) => combine(recoveryCombination(recovery)),
    fingerprint(point, shard) {
      check(point.length === FINGERPRINT_SIZE_BYTES, 'a point is 16 bytes')
      checkShards([shard])
      return fingerprint(point, shard)
    },
  }
}

/** The best kernel of this machine, made at first use: who never codes pays nothing. */
export function defaultErasureKernel(): ErasureKernel {
  return (chosen ??= bestKernel())
}

let chosen: ErasureKernel | undefined

function bestKernel(): ErasureKernel {
  for (const tier of ['relaxed', 'simd'] as const) {
    try {
      return createErasureKernel(tier)
    } catch {
      // The next one needs less.
    }
  }
  return createErasureKernel('scalar')
}
