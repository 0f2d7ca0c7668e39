import { execFile } from 'node:child_process'
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Worker } from 'node:worker_threads'
import { build } from 'esbuild'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { isFailure } from '@weightless/core'
import { createKernel, defaultErasureKernel, fingerprintPoint } from '@weightless/kernels'
import { createKernelPool, startKernelWorker } from './workers.ts'

const SEGMENT = 262_144
const kernel = createKernel('simd')

afterEach(() => {
  vi.useRealTimers()
})

describe('roots', () => {
  test.each([1, 2, 3])(
    '%i threads give the roots of the kernel, for few and many segments, shared or not',
    async (threads) => {
      await using pool = createKernelPool({ threads })
      for (const [size, lastLeafCount] of [
        [1, 1],
        [16_384, 64],
        [16_385, 72],
        [SEGMENT, 1024],
        [SEGMENT + 1, 64],
        [9 * SEGMENT + 700, 3],
        [33 * SEGMENT, 1024],
      ] as const) {
        const data = pattern(size)
        const want = kernel.segmentRoots(data, lastLeafCount)
        expect(await pool.segmentRoots(data, { lastLeafCount })).toEqual(want)
        expect(await pool.segmentRoots(shared(data), { lastLeafCount })).toEqual(want)
      }
    },
  )

  test('many calls at once are each answered with their own roots', async () => {
    await using pool = createKernelPool({ threads: 2 })
    const inputs = Array.from({ length: 60 }, (_, i) => pattern(17_000 + i * 20_011, i + 1))
    const roots = await Promise.all(inputs.map((data) => pool.segmentRoots(data, { lastLeafCount: 1024 })))
    expect(roots).toEqual(inputs.map((data) => kernel.segmentRoots(data, 1024)))
  })

  test('small input is hashed without a worker, larger input starts as many as it can use', async () => {
    const { workers, startWorker } = watched()
    await using pool = createKernelPool({ threads: 3 }, { startWorker })
    await pool.segmentRoots(pattern(16 * 1024), { lastLeafCount: 64 })
    expect(workers).toHaveLength(0)
    await pool.segmentRoots(pattern(17 * 1024), { lastLeafCount: 80 })
    await pool.segmentRoots(pattern(SEGMENT), { lastLeafCount: 1024 })
    expect(workers).toHaveLength(1)
    await pool.segmentRoots(pattern(40 * SEGMENT), { lastLeafCount: 1024 })
    expect(workers).toHaveLength(3)
  })

  test('where WASM SIMD is missing all is hashed on the calling thread', async () => {
    const { workers, startWorker } = watched()
    const data = pattern(SEGMENT + 300)
    const want = kernel.segmentRoots(data, 2)
    vi.stubGlobal('WebAssembly', {})
    try {
      await using pool = createKernelPool({ threads: 2 }, { startWorker })
      expect(await pool.segmentRoots(data, { lastLeafCount: 2 })).toEqual(want)
    } finally {
      vi.unstubAllGlobals()
    }
    expect(workers).toHaveLength(0)
  })

  test('input of an impossible shape is refused and reaches no worker', async () => {
    const { workers, startWorker } = watched()
    await using pool = createKernelPool({ threads: 1 }, { startWorker })
    await expect(pool.segmentRoots(pattern(SEGMENT), { lastLeafCount: 1025 })).rejects.toThrow(RangeError)
    await expect(pool.segmentRoots(pattern(SEGMENT), { lastLeafCount: 1023 })).rejects.toThrow(RangeError)
    await expect(pool.segmentRoots(pattern(0), { lastLeafCount: 1 })).rejects.toThrow(RangeError)
    expect(workers).toHaveLength(0)
  })
})

describe('roots of a part of a file', () => {
  let directory: string
  let handle: FileHandle
  const content = pattern(9 * SEGMENT + 700)
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'weightless-pool-'))
    await writeFile(join(directory, 'file'), content)
    handle = await open(join(directory, 'file'))
  })
  afterEach(async () => {
    await handle.close()
    await rm(directory, { recursive: true })
  })
  const parts = [
    [0, 100, 1],
    [0, 16_384, 64],
    [0, 16_385, 72],
    [SEGMENT, 2 * SEGMENT, 1024],
    [0, content.length, 3],
    [7 * SEGMENT, content.length, 1024],
  ] as const

  test.each([1, 2, 3])('%i threads give what the kernel gives for the same bytes', async (threads) => {
    await using pool = createKernelPool({ threads })
    for (const [start, end, lastLeafCount] of parts) {
      const want = kernel.segmentRoots(content.subarray(start, end), lastLeafCount)
      expect(await pool.fileSegmentRoots({ fd: handle.fd, start, end }, { lastLeafCount })).toEqual(want)
    }
    const bytes = pool.segmentRoots(content, { lastLeafCount: 3 })
    const file = pool.fileSegmentRoots({ fd: handle.fd, start: 0, end: content.length }, { lastLeafCount: 3 })
    expect(await file).toEqual(await bytes)
  })

  test('so does the calling thread where WASM SIMD is missing', async () => {
    vi.stubGlobal('WebAssembly', {})
    try {
      await using pool = createKernelPool({ threads: 2 })
      const range = { fd: handle.fd, start: 8 * SEGMENT, end: content.length }
      const want = kernel.segmentRoots(content.subarray(range.start), 3)
      expect(await pool.fileSegmentRoots(range, { lastLeafCount: 3 })).toEqual(want)
      await expect(pool.fileSegmentRoots({ ...range, end: range.end + 1 }, { lastLeafCount: 3 })).rejects.toMatchObject(
        { code: 'DISK_FAILED' },
      )
    } finally {
      vi.unstubAllGlobals()
    }
  })

  test('a file that ends early or cannot be read is a typed failure of its call alone', async () => {
    await using pool = createKernelPool({ threads: 1 })
    const good = { fd: handle.fd, start: 0, end: content.length }
    const want = kernel.segmentRoots(content, 3)
    const sink = await open(join(directory, 'sink'), 'w')
    try {
      const calls = [
        pool.fileSegmentRoots({ ...good, end: 10 * SEGMENT }, { lastLeafCount: 1024 }),
        pool.fileSegmentRoots(good, { lastLeafCount: 3 }),
        pool.fileSegmentRoots({ ...good, fd: sink.fd }, { lastLeafCount: 3 }),
      ]
      const [short, whole, unreadable] = await Promise.allSettled(calls)
      expect(short).toMatchObject({ reason: { code: 'DISK_FAILED', facts: { reason: 'short read' } } })
      expect(whole).toMatchObject({ value: want })
      expect(unreadable).toMatchObject({ reason: { code: 'DISK_FAILED', facts: { reason: 'EBADF' } } })
    } finally {
      await sink.close()
    }
    expect(await pool.fileSegmentRoots(good, { lastLeafCount: 3 })).toEqual(want)
  })

  test('an aborted call is rejected with the reason of its signal, and a closed pool refuses', async () => {
    const pool = createKernelPool({ threads: 1 })
    const stop = new AbortController()
    const range = { fd: handle.fd, start: 0, end: content.length }
    const underway = pool.fileSegmentRoots(range, { lastLeafCount: 3, signal: stop.signal })
    stop.abort(new Error('gone'))
    await expect(underway).rejects.toThrow('gone')
    await expect(
      pool.fileSegmentRoots({ ...range, end: 100 }, { lastLeafCount: 1, signal: stop.signal }),
    ).rejects.toThrow('gone')
    await pool[Symbol.asyncDispose]()
    await expect(pool.fileSegmentRoots(range, { lastLeafCount: 3 })).rejects.toMatchObject({
      code: 'KERNEL_POOL_CLOSED',
    })
  })
})

describe('coding', () => {
  const erasure = defaultErasureKernel()
  const point = fingerprintPoint(new Uint8Array(32).fill(1), new Uint8Array(32).fill(2))

  test.each([1, 2, 3])(
    '%i threads give the parity and the lost shards of the kernel, for few and many bytes, shared or not',
    async (threads) => {
      await using pool = createKernelPool({ threads })
      for (const [k, m, sizeBytes] of [
        [1, 1, 1],
        [4, 2, SEGMENT],
        [10, 4, 26_215],
        [10, 4, SEGMENT - 7],
        [64, 64, 9000],
        [128, 128, 4097],
      ] as const) {
        const code = { k, m }
        const data = Array.from({ length: k }, (_, i) => (i % 5 === 3 ? undefined : pattern(sizeBytes, i + 1)))
        const want = rows(m, sizeBytes)
        erasure.encodeParity({ code, data, parity: want })
        for (const place of [shared, (row: Uint8Array) => row]) {
          // Every other row lies elsewhere than the rest.
          const mixed = (row: Uint8Array, i: number): Uint8Array => (i % 2 === 0 ? place(row) : shared(row))
          const given = data.map((shard, i) => shard && mixed(shard, i))
          const parity = rows(m, sizeBytes).map(mixed)
          await pool.encodeParity({ code, data: given, parity }, {})
          expect(parity.every((row, j) => Buffer.compare(row, want[j]!) === 0)).toBe(true)

          const lost = Math.min(k, m)
          const shards = [...given.map((shard, i) => (i < lost ? undefined : (shard ?? ('zero' as const)))), ...parity]
          const wanted = rows(lost, sizeBytes).map((row, slot) => ({ slot, into: mixed(row, slot) }))
          await pool.recover({ code, shards, wanted }, {})
          const zeros = new Uint8Array(sizeBytes)
          expect(wanted.every(({ slot, into }) => Buffer.compare(into, data[slot] ?? zeros) === 0)).toBe(true)
        }
      }
    },
  )

  test.each([1, 2, 3])('%i threads give the fingerprints of the kernel, shared or not', async (threads) => {
    await using pool = createKernelPool({ threads })
    for (const sizes of [
      [],
      [1],
      [SEGMENT],
      [SEGMENT, 5, 0, SEGMENT - 1, SEGMENT],
      Array(9).fill(20_000) as number[],
    ]) {
      const shards = sizes.map((size, i) => pattern(size, i + 1))
      const want = Buffer.concat(shards.map((shard) => erasure.fingerprint(point, shard)))
      expect(Buffer.from(await pool.fingerprints(shards, { point }))).toEqual(want)
      expect(Buffer.from(await pool.fingerprints(shards.map(shared), { point }))).toEqual(want)
    }
  })

  test('a little is coded without a worker, and workers that only hash learn nothing of it', async () => {
    const { workers, startWorker } = watched()
    await using pool = createKernelPool({ threads: 1 }, { startWorker })
    await pool.encodeParity({ code: { k: 4, m: 2 }, data: rows(4, 1000), parity: rows(2, 1000) }, {})
    await pool.fingerprints(rows(4, 16 * 1024), { point })
    expect(workers).toHaveLength(0)
    await pool.fingerprints(rows(5, 16 * 1024), { point })
    expect(workers).toHaveLength(1)
  })

  test('calls of all kinds at once are each answered with their own', async () => {
    await using pool = createKernelPool({ threads: 2 })
    const code = { k: 10, m: 4 }
    const data = Array.from({ length: 10 }, (_, i) => pattern(SEGMENT, i + 1))
    const want = rows(4, SEGMENT)
    erasure.encodeParity({ code, data, parity: want })
    const calls = Array.from({ length: 6 }, async () => {
      const parity = rows(4, SEGMENT)
      const [, roots, fingerprints] = await Promise.all([
        pool.encodeParity({ code, data, parity }, {}),
        pool.segmentRoots(data[0]!, { lastLeafCount: 1024 }),
        pool.fingerprints(data, { point }),
      ])
      expect(parity.every((row, j) => Buffer.compare(row, want[j]!) === 0)).toBe(true)
      expect(roots).toEqual(kernel.segmentRoots(data[0]!, 1024))
      expect(fingerprints.slice(144)).toEqual(erasure.fingerprint(point, data[9]!))
    })
    await Promise.all(calls)
  })

  test('where WASM SIMD is missing all is coded on the calling thread', async () => {
    const { workers, startWorker } = watched()
    const code = { k: 4, m: 2 }
    const data = Array.from({ length: 4 }, (_, i) => pattern(70_000, i + 1))
    const [want, parity] = [rows(2, 70_000), rows(2, 70_000)]
    erasure.encodeParity({ code, data, parity: want })
    vi.stubGlobal('WebAssembly', {})
    try {
      await using pool = createKernelPool({ threads: 2 }, { startWorker })
      await pool.encodeParity({ code, data, parity }, {})
      expect(parity).toEqual(want)
      expect((await pool.fingerprints(data, { point })).slice(0, 16)).toEqual(erasure.fingerprint(point, data[0]!))
    } finally {
      vi.unstubAllGlobals()
    }
    expect(workers).toHaveLength(0)
  })

  test('input of an impossible shape is refused and reaches no worker', async () => {
    const { workers, startWorker } = watched()
    await using pool = createKernelPool({ threads: 1 }, { startWorker })
    const code = { k: 4, m: 2 }
    const [data, parity] = [rows(4, SEGMENT), rows(2, SEGMENT)]
    await expect(pool.encodeParity({ code: { k: 4, m: 0 }, data, parity }, {})).rejects.toThrow(RangeError)
    await expect(pool.encodeParity({ code, data, parity: rows(2, 9) }, {})).rejects.toThrow(RangeError)
    await expect(pool.recover({ code, shards: Array(6).fill(undefined), wanted: [] }, {})).rejects.toThrow(RangeError)
    await expect(pool.fingerprints([new Uint8Array(SEGMENT + 1)], { point })).rejects.toThrow(RangeError)
    await expect(pool.fingerprints(data, { point: point.slice(1) })).rejects.toThrow(RangeError)
    expect(workers).toHaveLength(0)
  })

  test('an aborted call is rejected at once and writes no more into memory of the caller alone', async () => {
    await using pool = createKernelPool({ threads: 1 })
    const code = { k: 64, m: 64 }
    const stop = new AbortController()
    const parity = rows(64, SEGMENT)
    const underway = pool.encodeParity({ code, data: rows(64, SEGMENT), parity }, { signal: stop.signal })
    await pool.fingerprints(rows(5, SEGMENT), { point })
    stop.abort(new Error('gone'))
    await expect(underway).rejects.toThrow('gone')
    for (const row of parity) row.fill(7)
    await pool.fingerprints(rows(9, SEGMENT), { point })
    expect(parity.every((row) => row.every((byte) => byte === 7))).toBe(true)
    const options = { signal: stop.signal }
    await expect(pool.encodeParity({ code, data: rows(64, 9), parity: rows(64, 9) }, options)).rejects.toThrow('gone')
    await expect(pool.fingerprints(rows(9, SEGMENT), { point, ...options })).rejects.toThrow('gone')
  })

  test('a worker that dies fails its calls and its successor codes', async () => {
    const { workers, startWorker } = watched()
    const pool = createKernelPool({ threads: 1 }, { startWorker })
    const shards = rows(5, SEGMENT)
    const want = await pool.fingerprints(shards, { point })
    const code = { k: 64, m: 64 }
    const doomed = pool.encodeParity({ code, data: rows(64, SEGMENT), parity: rows(64, SEGMENT) }, {})
    const died = expect(doomed).rejects.toSatisfy((error) => isFailure(error, 'KERNEL_WORKER_FAILED'))
    await workers[0]!.terminate()
    await died
    expect(await pool.fingerprints(shards, { point })).toEqual(want)
    expect(workers).toHaveLength(2)
    await pool[Symbol.asyncDispose]()
    await expect(pool.fingerprints(shards, { point })).rejects.toMatchObject({ code: 'KERNEL_POOL_CLOSED' })
    await expect(pool.recover({ code, shards: [], wanted: [] }, {})).rejects.toMatchObject({
      code: 'KERNEL_POOL_CLOSED',
    })
  })
})

describe('cancellation', () => {
  test('a call with an aborted signal is rejected before anything starts', async () => {
    const { workers, startWorker } = watched()
    await using pool = createKernelPool({ threads: 1 }, { startWorker })
    const signal = AbortSignal.abort(new Error('gone'))
    await expect(pool.segmentRoots(pattern(SEGMENT), { lastLeafCount: 1024, signal })).rejects.toThrow('gone')
    await expect(pool.segmentRoots(pattern(100), { lastLeafCount: 1, signal })).rejects.toThrow('gone')
    expect(workers).toHaveLength(0)
  })

  test('an aborted call is rejected at once, waiting or under way, and the next call is answered', async () => {
    // A worker that is ready, keeps its first task for ever, and answers all later ones.
    const stubborn = (): Worker =>
      new Worker(
        `const { parentPort } = require('node:worker_threads')
         let seen = 0
         parentPort.on('message', ({ id }) => { if (seen++ > 0) parentPort.postMessage({ id, result: new Uint8Array(32).fill(id) }) })
         parentPort.postMessage({ id: 0 })`,
        { eval: true },
      )
    await using pool = createKernelPool({ threads: 1 }, { startWorker: stubborn })
    const stop = new AbortController()
    const underway = pool.segmentRoots(pattern(SEGMENT), { lastLeafCount: 1024, signal: stop.signal })
    expect((await pool.segmentRoots(pattern(SEGMENT), { lastLeafCount: 1024 }))[0]).toBe(2)
    stop.abort(new Error('gone'))
    await expect(underway).rejects.toThrow('gone')
    expect((await pool.segmentRoots(pattern(SEGMENT), { lastLeafCount: 1024 }))[0]).toBe(3)

    const silent = createKernelPool(
      { threads: 1 },
      { startWorker: () => new Worker('setInterval(() => {}, 1000)', { eval: true }) },
    )
    const stopWaiting = new AbortController()
    const waiting = silent.segmentRoots(pattern(SEGMENT), { lastLeafCount: 1024, signal: stopWaiting.signal })
    stopWaiting.abort(new Error('gone too'))
    await expect(waiting).rejects.toThrow('gone too')
    await silent[Symbol.asyncDispose]()
  })

  test('a large call does not hold up a small one, and aborting it leaves the others their turn', async () => {
    await using pool = createKernelPool({ threads: 1 })
    const order: string[] = []
    const stop = new AbortController()
    const large = pool
      .segmentRoots(shared(pattern(200 * SEGMENT)), { lastLeafCount: 1024, signal: stop.signal })
      .catch((error: unknown) => order.push(String(error)))
    const small = pool.segmentRoots(pattern(SEGMENT), { lastLeafCount: 1024 }).then(() => order.push('small'))
    await small
    stop.abort('stopped')
    await large
    expect(order).toEqual(['small', 'stopped'])
  })
})

describe('failure', () => {
  test('a worker that dies fails its calls with a typed failure and is replaced', async () => {
    const { workers, startWorker } = watched()
    await using pool = createKernelPool({ threads: 1 }, { startWorker })
    const data = pattern(SEGMENT)
    const want = await pool.segmentRoots(data, { lastLeafCount: 1024 })
    const doomed = pool.segmentRoots(pattern(100 * SEGMENT), { lastLeafCount: 1024 })
    const died = expect(doomed).rejects.toSatisfy(
      (error) => isFailure(error, 'KERNEL_WORKER_FAILED') && error.retryable,
    )
    await workers[0]!.terminate()
    await died
    expect(await pool.segmentRoots(data, { lastLeafCount: 1024 })).toEqual(want)
    expect(workers).toHaveLength(2)
  })

  test('an exception in a worker is the cause of the failure', async () => {
    const startWorker = (): Worker =>
      new Worker(
        `const { parentPort } = require('node:worker_threads')
         parentPort.on('message', () => { throw new Error('out of luck') })
         parentPort.postMessage({ id: 0 })`,
        { eval: true },
      )
    await using pool = createKernelPool({ threads: 1 }, { startWorker })
    const failed = pool.segmentRoots(pattern(SEGMENT), { lastLeafCount: 1024 })
    await expect(failed).rejects.toMatchObject({ code: 'KERNEL_WORKER_FAILED', cause: { message: 'out of luck' } })
  })

  test('workers that cannot start fail the calls that wait instead of being started for ever', async () => {
    let started = 0
    const startWorker = (): Worker => {
      started++
      return new Worker('process.exit(3)', { eval: true })
    }
    await using pool = createKernelPool({ threads: 2 }, { startWorker })
    const failed = pool.segmentRoots(pattern(20 * SEGMENT), { lastLeafCount: 1024 })
    await expect(failed).rejects.toSatisfy((error) => isFailure(error, 'KERNEL_WORKER_FAILED'))
    expect(started).toBe(2)
  })

  test('more waiting calls than the limit are refused as retryable', async () => {
    const startWorker = (): Worker => new Worker('setInterval(() => {}, 1000)', { eval: true })
    const pool = createKernelPool({ threads: 1 }, { startWorker })
    const data = pattern(17_000)
    const calls = Array.from({ length: 4097 }, () => pool.segmentRoots(data, { lastLeafCount: 67 }))
    const results = Promise.allSettled(calls)
    await expect(calls[4096]).rejects.toSatisfy((error) => isFailure(error, 'KERNEL_QUEUE_FULL') && error.retryable)
    await pool[Symbol.asyncDispose]()
    const codes = (await results).map((result) =>
      result.status === 'rejected' ? (result.reason as { code: string }).code : '',
    )
    expect(new Set(codes.slice(0, 4096))).toEqual(new Set(['KERNEL_POOL_CLOSED']))
  })
})

describe('life', () => {
  test('a disposed pool ends its workers, rejects what is under way and refuses new calls', async () => {
    const { workers, startWorker } = watched()
    const pool = createKernelPool({ threads: 2 }, { startWorker })
    await pool.segmentRoots(pattern(20 * SEGMENT), { lastLeafCount: 1024 })
    const underway = pool.segmentRoots(pattern(20 * SEGMENT), { lastLeafCount: 1024 })
    const closed = expect(underway).rejects.toSatisfy((error) => isFailure(error, 'KERNEL_POOL_CLOSED'))
    await pool[Symbol.asyncDispose]()
    await closed
    expect(workers.map(({ threadId }) => threadId)).toEqual([-1, -1])
    await expect(pool.segmentRoots(pattern(1), { lastLeafCount: 1 })).rejects.toMatchObject({
      code: 'KERNEL_POOL_CLOSED',
    })
    await pool[Symbol.asyncDispose]()
  })

  test('workers end after an idle time, never under a call, and come back with the next one', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const { workers, startWorker } = watched()
    await using pool = createKernelPool({ threads: 1, idleMs: 5000 }, { startWorker })
    const want = await pool.segmentRoots(pattern(SEGMENT), { lastLeafCount: 1024 })
    vi.advanceTimersByTime(4999)
    const long = pool.segmentRoots(pattern(SEGMENT), { lastLeafCount: 1024 })
    vi.advanceTimersByTime(5000)
    expect(await long).toEqual(want)
    vi.advanceTimersByTime(4999)
    expect(workers[0]!.threadId).toBeGreaterThan(0)
    const exited = new Promise((resolve) => workers[0]!.once('exit', resolve))
    vi.advanceTimersByTime(1)
    await exited
    expect(await pool.segmentRoots(pattern(SEGMENT), { lastLeafCount: 1024 })).toEqual(want)
    expect(workers).toHaveLength(2)
  })

  test('bundled into split modules it needs no worker file, and an idle pool lets the process end', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'weightless-pool-'))
    try {
      // Two entries share the pool's module, so that it lands in a chunk as in the command line's bundle.
      const pool = JSON.stringify(join(import.meta.dirname, 'workers.ts'))
      await writeFile(
        join(directory, 'one.ts'),
        `import { createKernelPool } from ${pool}
         const pool = createKernelPool({ threads: 2 })
         const roots = await pool.segmentRoots(new Uint8Array(${9 * SEGMENT}), { lastLeafCount: 1024 })
         process.stdout.write(Buffer.from(roots).toString('hex'))`,
      )
      await writeFile(join(directory, 'two.ts'), `export { createKernelPool } from ${pool}`)
      await build({
        entryPoints: [join(directory, 'one.ts'), join(directory, 'two.ts')],
        outdir: join(directory, 'out'),
        outExtension: { '.js': '.mjs' },
        bundle: true,
        splitting: true,
        minify: true,
        format: 'esm',
        platform: 'node',
        target: 'node20',
        conditions: ['source'],
        nodePaths: [join(import.meta.dirname, '../../../node_modules')],
        logLevel: 'error',
      })
      const { stdout } = await promisify(execFile)(process.execPath, [join(directory, 'out/one.mjs')], {
        timeout: 30_000,
      })
      expect(stdout).toBe(Buffer.from(kernel.zeroSubtree(10)).toString('hex').repeat(9))
    } finally {
      await rm(directory, { recursive: true })
    }
  })
})

/** Real workers, remembered. */
function watched(): { workers: Worker[]; startWorker: (module: WebAssembly.Module) => Worker } {
  const workers: Worker[] = []
  const startWorker = (module: WebAssembly.Module): Worker => {
    const worker = startKernelWorker(module)
    workers.push(worker)
    return worker
  }
  return { workers, startWorker }
}

function pattern(size: number, seed = 1): Uint8Array {
  const words = new Uint32Array(Math.ceil(size / 4))
  let x = seed
  for (let i = 0; i < words.length; i++) {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    words[i] = x
  }
  return new Uint8Array(words.buffer, 0, size)
}

function rows(count: number, sizeBytes: number): Uint8Array[] {
  return Array.from({ length: count }, () => new Uint8Array(sizeBytes))
}

function shared(data: Uint8Array): Uint8Array {
  const view = new Uint8Array(new SharedArrayBuffer(data.length + 5)).subarray(5)
  view.set(data)
  return view
}
