import { keccakWasm } from './generated/keccak.wasm.ts'
import type { Primitives } from './scalar.ts'

/** The compiled kernel. Modules can be posted to workers, which share its code. Throws where WASM SIMD is missing, or where a
 *  browser refuses to compile on its main thread: Chrome before 114 takes no more than 4 KiB there, and gets the plain twin. */
export function compileSimd(): WebAssembly.Module {
  return moduleOf(keccakWasm)
}

/** A committed binary, compiled. Throws like `compileSimd`. */
export function moduleOf(wasmText: string): WebAssembly.Module {
  return new WebAssembly.Module(bytesOfBase64(wasmText))
}

/** The door of assembly/keccak.ts: bytes go to address 0, the answer is at address 0. */
export type SimdExports = {
  readonly memory: WebAssembly.Memory
  segmentRoot(sizeBytes: number, leafCount: number): void
  level(count: number): number
  merkleRoot(count: number): void
  keccakStart(): void
  keccakAbsorb(blockCount: number): void
  keccakFinish(sizeBytes: number): void
}

/** The caller's area in the kernel's memory: one segment, or 8192 hashes. */
const AREA_SIZE_BYTES = 262_144
const RATE_BYTES = 136
const AREA_BLOCKS: number = Math.floor(AREA_SIZE_BYTES / RATE_BYTES)

export function instantiateSimd(module: WebAssembly.Module): Primitives {
  const wasm = new WebAssembly.Instance(module).exports as unknown as SimdExports
  // The memory never grows (its maximum is its initial size), so these views stay valid.
  const area = new Uint8Array(wasm.memory.buffer, 0, AREA_SIZE_BYTES)
  const hash = area.subarray(0, 32)

  function keccak256(data: Uint8Array): Uint8Array {
    const wholeBytes = AREA_BLOCKS * RATE_BYTES
    let at = 0
    wasm.keccakStart()
    for (; data.length - at >= wholeBytes; at += wholeBytes) {
      area.set(data.subarray(at, at + wholeBytes))
      wasm.keccakAbsorb(AREA_BLOCKS)
    }
    area.set(at === 0 ? data : data.subarray(at))
    wasm.keccakFinish(data.length - at)
    return hash.slice()
  }

  function segmentRootInto(data: Uint8Array, leafCount: number, out: Uint8Array, at: number): void {
    area.set(data)
    wasm.segmentRoot(data.length, leafCount)
    out.set(hash, at)
  }

  // A row longer than the area is worked off in areas. Their size is a power of two, so pairs never straddle two of them, and
  // an area's root is a node of the whole tree.
  function level(hashes: Uint8Array): Uint8Array {
    const parents = new Uint8Array(Math.ceil(hashes.length / 64) * 32)
    for (let at = 0; at < hashes.length; at += AREA_SIZE_BYTES) {
      const part = hashes.subarray(at, at + AREA_SIZE_BYTES)
      area.set(part)
      parents.set(area.subarray(0, wasm.level(part.length / 32) * 32), at / 2)
    }
    return parents
  }

  function merkleRoot(hashes: Uint8Array): Uint8Array {
    const roots = new Uint8Array(Math.ceil(hashes.length / AREA_SIZE_BYTES) * 32)
    for (let at = 0; at < hashes.length; at += AREA_SIZE_BYTES) {
      const part = hashes.subarray(at, at + AREA_SIZE_BYTES)
      area.set(part)
      wasm.merkleRoot(part.length / 32)
      roots.set(hash, (at / AREA_SIZE_BYTES) * 32)
    }
    return roots.length === 32 ? roots : merkleRoot(roots)
  }

  return { keccak256, segmentRootInto, level, merkleRoot }
}

function bytesOfBase64(text: string): Uint8Array<ArrayBuffer> {
  const binary = atob(text)
  const bytes = new Uint8Array(binary.length)
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i)
  return bytes
}
