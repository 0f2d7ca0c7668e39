import { columnsOf, productCountOf } from './combination.ts'
import type { Combination } from './combination.ts'
import { defaultErasureKernel } from './erasure.ts'
import { encodingCombination, recoveryCombination } from './erasureCode.ts'
import type { Encoding, Recovery } from './erasureCode.ts'
import { checkShards, FINGERPRINT_SIZE_BYTES } from './fingerprint.ts'
import { defaultKernel, segmentCountOf } from './kernel.ts'
import type { Kernel } from './kernel.ts'

/** The port `Kernels` of core on the calling thread: for browsers, tests and the simulator. Between pieces the event loop gets
 *  a turn. `pause` is that turn: by default one macrotask; the simulator passes its own, to stay deterministic. */
export function inlineKernels(options: InlineOptions = {}): InlineKernels {
  const kernel = options.kernel ?? defaultKernel()
  const pause = options.pause ?? macrotask
  return {
    segmentRoots(data, { lastLeafCount, signal }) {
      return new Promise((resolve, reject) => {
        const roots = new Uint8Array(segmentCountOf(data.length, lastLeafCount) * 32)
        const hashFrom = (at: number): Promise<Uint8Array> => {
          signal?.throwIfAborted()
          const end = Math.min(at + PIECE_SIZE_BYTES, data.length)
          const leafCount = end === data.length ? lastLeafCount : SEGMENT_LEAVES
          roots.set(kernel.segmentRoots(data.subarray(at, end), leafCount), (at / SEGMENT_SIZE_BYTES) * 32)
          return end === data.length ? Promise.resolve(roots) : pause().then(() => hashFrom(end))
        }
        hashFrom(0).then(resolve, reject)
      })
    },
    encodeParity: (encoding, { signal }) => inSteps(() => combineSteps(encodingCombination(encoding)), signal),
    recover: (recovery, { signal }) => inSteps(() => combineSteps(recoveryCombination(recovery)), signal),
    fingerprints(shards, { point, signal }) {
      const fingerprints = new Uint8Array(shards.length * FINGERPRINT_SIZE_BYTES)
      return inSteps(() => fingerprintSteps(point, shards, fingerprints), signal).then(() => fingerprints)
    },
  }

  function inSteps(stepsOf: () => readonly (() => void)[], signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const steps = stepsOf()
      const runFrom = (index: number): Promise<void> => {
        signal?.throwIfAborted()
        steps[index]?.()
        return index + 1 < steps.length ? pause().then(() => runFrom(index + 1)) : Promise.resolve()
      }
      runFrom(0).then(resolve, reject)
    })
  }
}

function combineSteps(combination: Combination): (() => void)[] {
  const { combine } = defaultErasureKernel()
  const sizeBytes = combination.outputs[0]!.length
  const stepBytes = Math.ceil((sizeBytes * PIECE_PRODUCTS) / Math.max(PIECE_PRODUCTS, productCountOf(combination)))
  const steps: (() => void)[] = []
  for (let from = 0; from < sizeBytes; from += stepBytes)
    steps.push(() => combine(columnsOf(combination, from, from + stepBytes)))
  return steps
}

function fingerprintSteps(point: Uint8Array, shards: readonly Uint8Array[], into: Uint8Array): (() => void)[] {
  const kernel = defaultErasureKernel()
  checkShards(shards)
  const steps: (() => void)[] = []
  for (let first = 0; first < shards.length; first += PIECE_SHARDS) {
    steps.push(() => {
      for (const [i, shard] of shards.slice(first, first + PIECE_SHARDS).entries())
        into.set(kernel.fingerprint(point, shard), (first + i) * FINGERPRINT_SIZE_BYTES)
    })
  }
  return steps
}

export type InlineOptions = {
  readonly kernel?: Kernel | undefined
  readonly pause?: (() => Promise<void>) | undefined
}
/** Structurally the port `Kernels`: this room imports nothing. */
export type InlineKernels = {
  segmentRoots(
    data: Uint8Array,
    options: { readonly lastLeafCount: number; readonly signal?: AbortSignal | undefined },
  ): Promise<Uint8Array>
  encodeParity(encoding: Encoding, options: { readonly signal?: AbortSignal | undefined }): Promise<void>
  recover(recovery: Recovery, options: { readonly signal?: AbortSignal | undefined }): Promise<void>
  fingerprints(
    shards: readonly Uint8Array[],
    options: { readonly point: Uint8Array; readonly signal?: AbortSignal | undefined },
  ): Promise<Uint8Array>
}

const SEGMENT_LEAVES = 1024
const SEGMENT_SIZE_BYTES = 262_144
/** 2 MiB take about 5 ms with SIMD: a third of a frame at 60 Hz. Whole segments, so pieces can be rooted one by one. */
const PIECE_SIZE_BYTES: number = 8 * SEGMENT_SIZE_BYTES
/** Coding makes 20 to 40 products of a byte and a coefficient per nanosecond: 2 to 3 ms. */
const PIECE_PRODUCTS: number = 2 ** 26
/** 2 MiB are fingerprinted in about 1 ms. */
const PIECE_SHARDS = 8

// A message to oneself is the only macrotask that both browsers and Node have and that is no timer (browsers clamp nested
// timers to 4 ms, which would double the time of a large file).
function macrotask(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel()
    port1.addEventListener('message', () => {
      port1.close()
      resolve()
    })
    port1.start()
    port2.postMessage(undefined)
  })
}
