/** The program of a kernel worker, as text for `new Worker(text, { eval: true })`: no file to find, whether the project runs from
 *  source, from a bundle or from a package. It is plain CommonJS. `workerData.module` is the compiled kernel, whose code all
 *  threads share; its door (bytes to address 0, root at address 0) is described in kernels/assembly/keccak.ts. The kernel of
 *  kernels/assembly/reedSolomon.ts comes with the first task that needs it. */
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
const rootSegments = ({ id, data, file, lastLeafCount }) => {
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
      return { id, unread: error.code ?? error.message }
    }
    kernel.segmentRoot(length, i < count - 1 ? 1024 : lastLeafCount)
    roots.set(root, i * 32)
  }
  return { id, result: roots }
}
// fill repeats its value until the end: here that is once, and a copy at the speed of memory. set goes byte by byte, or word by
// word, between shared memory and other.
const copy = (target, source, at) => {
  if (source.length > 0) target.fill(source, at, at + source.length)
}
let erasure, rows
const combine = ({ id, coefficients, inputs, outputs, strideBytes }) => {
  rows.set(coefficients)
  erasure.prepare(inputs.length, outputs.length)
  const size = outputs[0].length
  const targets = outputs.map((output) => Buffer.from(output.buffer, output.byteOffset, size))
  for (let from = 0; from < size; from += strideBytes) {
    const length = Math.min(strideBytes, size - from)
    let at = 0
    for (const input of inputs) {
      copy(rows, input.subarray(from, from + length), at)
      at += strideBytes
    }
    erasure.combine(inputs.length, outputs.length, strideBytes, (length + 63) & ~63)
    for (const target of targets) {
      copy(target, rows.subarray(at, at + length), from)
      at += strideBytes
    }
  }
  return { id }
}
const fingerprint = ({ id, coefficients, shards }) => {
  const sums = new Uint8Array(shards.length * 64)
  rows.set(coefficients)
  erasure.prepare(64, 16)
  for (const [i, shard] of shards.entries()) {
    copy(rows, shard, 0)
    erasure.fingerprint(shard.length)
    sums.set(rows.subarray(0, 64), i * 64)
  }
  return { id, result: sums }
}
parentPort.on('message', (task) => {
  if (task.erasure) {
    erasure = new WebAssembly.Instance(task.erasure).exports
    rows = Buffer.from(erasure.memory.buffer)
  }
  parentPort.postMessage(task.outputs ? combine(task) : task.shards ? fingerprint(task) : rootSegments(task))
})
parentPort.postMessage({ id: 0 })
`

/** `id` is above 0. `erasure` comes with the first task of a worker that needs it. */
export type KernelWorkerTask = KernelTask & { readonly id: number; readonly erasure?: WebAssembly.Module | undefined }

export type KernelTask = RootTask | CombineTask | FingerprintTask

/** Roots of whole segments, the last may be shorter: `data` is a view of shared memory, `file` a part of an open file, which the
 *  worker reads into the kernel itself. The result is 32 bytes for each. */
export type RootTask = { readonly lastLeafCount: number } & (
  | { readonly data: Uint8Array }
  | { readonly file: { readonly fd: number; readonly start: number; readonly end: number } }
)
/** A `Combination` of views of shared memory, with the stride of their rows in the kernel. There is no result but the outputs. */
export type CombineTask = {
  readonly coefficients: Uint8Array
  readonly inputs: readonly Uint8Array[]
  readonly outputs: readonly Uint8Array[]
  readonly strideBytes: number
}
/** Shards are views of shared memory, `coefficients` those of `fingerprintCoefficients`. The result is the kernel's sums, 64 bytes
 *  for each. */
export type FingerprintTask = { readonly coefficients: Uint8Array; readonly shards: readonly Uint8Array[] }

/** `id` 0 says that the worker is ready; `unread`, why the file could not be read. */
export type KernelWorkerAnswer = { readonly id: number; readonly result?: Uint8Array; readonly unread?: string }
