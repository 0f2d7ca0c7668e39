/** The program of a kernel worker, as text for `new Worker(text, { eval: true })`: no file to find, whether the project runs from
 *  source, from a bundle or from a package. It is plain CommonJS. `workerData.module` is the compiled kernel, whose code all
 *  threads share; its door (bytes to address 0, root at address 0) is described in kernels/assembly/keccak.ts. */
export const kernelWorkerText = `'use strict'
const { readSync } = require('node:fs')
const { parentPort, workerData } = require('node:worker_threads')
const kernel = new WebAssembly.Instance(workerData.module).exports
const area = new Uint8Array(kernel.memory.buffer)
const buffer = Buffer.from(kernel.memory.buffer)
const root = area.subarray(0, 32)
const read = (fd, length, position) => {
  for (let done = 0; done < length; ) {
    const count = readSync(fd, area, done, length - done, position + done)
    if (count === 0) throw new Error('short read')
    done += count
  }
}
parentPort.on('message', ({ id, data, file, lastLeafCount }) => {
  const size = data ? data.length : file.end - file.start
  const count = Math.ceil(size / 262144)
  const roots = new Uint8Array(count * 32)
  for (let i = 0; i < count; i++) {
    const at = i * 262144
    const length = Math.min(262144, size - at)
    if (data) buffer.fill(data.subarray(at, at + length), 0, length) // a copy: see copyInto.ts
    else try {
      read(file.fd, length, file.start + at)
    } catch (error) {
      return parentPort.postMessage({ id, roots, unread: error.code ?? error.message })
    }
    kernel.segmentRoot(length, i < count - 1 ? 1024 : lastLeafCount)
    roots.set(root, i * 32)
  }
  parentPort.postMessage({ id, roots })
})
parentPort.postMessage({ id: 0, roots: root.slice(0, 0) })
`

/** Whole segments, the last may be shorter: `data` is a view of shared memory, `file` a part of an open file, which the worker
 *  reads into the kernel itself. `id` is above 0. */
export type KernelWorkerTask = { readonly id: number; readonly lastLeafCount: number } & (
  | { readonly data: Uint8Array }
  | { readonly file: { readonly fd: number; readonly start: number; readonly end: number } }
)
/** `id` 0 says that the worker is ready; `unread`, why the file could not be read. */
export type KernelWorkerAnswer = { readonly id: number; readonly roots: Uint8Array; readonly unread?: string }
