import type { ErasurePrimitives, ErasureTier } from './erasure.ts'
import { FINGERPRINT_INPUTS, FINGERPRINT_OUTPUTS, fingerprintCoefficients, fingerprintOfSums } from './fingerprint.ts'
import { reedSolomonWasm } from './generated/reedSolomon.wasm.ts'
import { reedSolomonRelaxedWasm } from './generated/reedSolomonRelaxed.wasm.ts'
import { moduleOf } from './simd.ts'

/** The compiled kernel of assembly/reedSolomon.ts, the faster of the two that the engine knows. Throws like `compileSimd`. */
export function compileErasure(): WebAssembly.Module {
  try {
    return compileErasureTier('relaxed')
  } catch {
    return compileErasureTier('simd')
  }
}

/** `relaxed` throws where relaxed SIMD is missing as well. */
export function compileErasureTier(tier: Exclude<ErasureTier, 'scalar'>): WebAssembly.Module {
  return moduleOf(tier === 'relaxed' ? reedSolomonRelaxedWasm : reedSolomonWasm)
}

/** The door of assembly/reedSolomon.ts. */
export type ErasureExports = {
  readonly memory: WebAssembly.Memory
  prepare(inputCount: number, outputCount: number): void
  combine(inputCount: number, outputCount: number, strideBytes: number, sizeBytes: number): void
  fingerprint(sizeBytes: number): void
}

/** The caller's area in the kernel's memory: a piece of all rows, or a shard. */
const AREA_SIZE_BYTES = 524_288
/** Rows are worked off in steps of a cache line; what lies behind the end of a row is computed and not taken. */
const LINE_BYTES = 64

/** The place of a row in the area. An odd number of cache lines, lest rows meet in the same sets of the cache. */
export function strideBytesOf(rowCount: number): number {
  const lines = Math.floor(AREA_SIZE_BYTES / rowCount / LINE_BYTES)
  return (lines - (lines % 2 === 0 ? 1 : 0)) * LINE_BYTES
}

export function instantiateErasure(module: WebAssembly.Module): ErasurePrimitives {
  const wasm = new WebAssembly.Instance(module).exports as unknown as ErasureExports
  // The memory never grows, so this view stays valid.
  const area = new Uint8Array(wasm.memory.buffer, 0, AREA_SIZE_BYTES)
  return {
    combine({ coefficients, inputs, outputs }) {
      const sizeBytes = outputs[0]?.length ?? 0
      const strideBytes = strideBytesOf(inputs.length + outputs.length)
      area.set(coefficients)
      wasm.prepare(inputs.length, outputs.length)
      for (let from = 0; from < sizeBytes; from += strideBytes) {
        const length = Math.min(strideBytes, sizeBytes - from)
        let at = 0
        for (const input of inputs) {
          area.set(input.subarray(from, from + length), at)
          at += strideBytes
        }
        const lines = Math.ceil(length / LINE_BYTES)
        wasm.combine(inputs.length, outputs.length, strideBytes, lines * LINE_BYTES)
        for (const output of outputs) {
          output.set(area.subarray(at, at + length), from)
          at += strideBytes
        }
      }
    },
    fingerprint(point, shard) {
      area.set(fingerprintCoefficients(point))
      wasm.prepare(FINGERPRINT_INPUTS, FINGERPRINT_OUTPUTS)
      area.set(shard)
      wasm.fingerprint(shard.length)
      return fingerprintOfSums(point, area)
    },
  }
}
