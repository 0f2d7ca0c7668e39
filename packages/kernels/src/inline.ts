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
  }
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
}

const SEGMENT_LEAVES = 1024
const SEGMENT_SIZE_BYTES = 262_144
/** 2 MiB take about 5 ms with SIMD: a third of a frame at 60 Hz. Whole segments, so pieces can be rooted one by one. */
const PIECE_SIZE_BYTES: number = 8 * SEGMENT_SIZE_BYTES

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
