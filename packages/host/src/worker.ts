/** The program of a kernel worker, as text for `new Worker(text, { eval: true })`: no file to find, whether the project runs from
 *  source, from a bundle or from a package. It is plain CommonJS. `workerData.module` is the compiled kernel, whose code all
 *  threads share; its door (bytes to address 0, root at address 0) is described in kernels/assembly/keccak.ts. */
export const kernelWorkerText = `'use strict'
const { parentPort, workerData } = require('node:worker_threads')
const kernel = new WebAssembly.Instance(workerData.module).exports
const area = new Uint8Array(kernel.memory.buffer)
const root = area.subarray(0, 32)
parentPort.on('message', ({ id, data, lastLeafCount }) => {
  const count = Math.ceil(data.length / 262144)
  const roots = new Uint8Array(count * 32)
  for (let i = 0; i < count; i++) {
    const segment = data.subarray(i * 262144, (i + 1) * 262144)
    area.set(segment)
    kernel.segmentRoot(segment.length, i < count - 1 ? 1024 : lastLeafCount)
    roots.set(root, i * 32)
  }
  parentPort.postMessage({ id, roots })
})
parentPort.postMessage({ id: 0, roots: root.slice(0, 0) })
`

/** `data` is a view of shared memory: whole segments, the last may be shorter. `id` is above 0. */
export type KernelWorkerTask = { readonly id: number; readonly data: Uint8Array; readonly lastLeafCount: number }
/** `id` 0 says that the worker is ready. */
export type KernelWorkerAnswer = { readonly id: number; readonly roots: Uint8Array }
