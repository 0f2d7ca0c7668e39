// Rate of Merkle rooting beside the official SDK's, in one run on one machine: `node packages/kernels/scripts/bench.mjs`.
// Prints JSON. Every contender roots the same bytes and must find the same root; of all passes the best counts, because on a
// shared machine other load only ever adds time.
import { randomFillSync } from 'node:crypto'
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { availableParallelism, cpus, tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'

const packages = resolve(dirname(fileURLToPath(import.meta.url)), '../..')
const SEGMENT_SIZE_BYTES = 262_144
/** Bytes read at a time when rooting a file: memory does not grow with the file. */
const PIECE_SIZE_BYTES = 16 * SEGMENT_SIZE_BYTES
const PIECES_UNDERWAY = 3

/**
 * `sizeBytes` must be a power of two of whole segments: then flow padding is none and the tree is the plain one. MemData copies
 * its whole input for every segment it reads, so it gets a smaller share, `memDataSizeBytes`.
 * Rates in MB/s (10^6 bytes), ratios to ZgFile.
 */
export async function benchMerkle({ sizeBytes = 64 * 2 ** 20, memDataSizeBytes = 16 * 2 ** 20, rounds = 3 } = {}) {
  const directory = await mkdtemp(join(tmpdir(), 'weightless-bench-'))
  try {
    const { createKernel, createKernelPool, merkleRoot } = await loadSources(directory)
    const { ZgFile, MemData } = await import('@0gfoundation/0g-ts-sdk')
    const kernel = createKernel('simd')
    const data = randomFillSync(new Uint8Array(new SharedArrayBuffer(sizeBytes)))
    const path = join(directory, 'data')
    await writeFile(path, data)
    const one = createKernelPool({ threads: 1 })
    const two = createKernelPool({ threads: 2 })
    const all = { lastLeafCount: 1024 }

    const contenders = {
      oneThread: { sizeBytes, passes: 4, run: () => merkleRoot(kernel.segmentRoots(data, 1024)) },
      oneThreadFromFile: { sizeBytes, passes: 4, run: () => rootOfFile(path, sizeBytes, one, merkleRoot) },
      twoThreads: { sizeBytes, passes: 4, run: async () => merkleRoot(await two.segmentRoots(data, all)) },
      twoThreadsFromFile: { sizeBytes, passes: 4, run: () => rootOfFile(path, sizeBytes, two, merkleRoot) },
      officialZgFile: { sizeBytes, passes: 1, run: () => officialRoot(() => ZgFile.fromFilePath(path)) },
      officialMemData: {
        sizeBytes: memDataSizeBytes,
        passes: 1,
        run: () => officialRoot(() => new MemData(Buffer.from(data.slice(0, memDataSizeBytes)))),
      },
    }
    const roots = { [sizeBytes]: hex(merkleRoot(kernel.segmentRoots(data, 1024))) }
    roots[memDataSizeBytes] = hex(merkleRoot(kernel.segmentRoots(data.subarray(0, memDataSizeBytes), 1024)))
    const best = {}
    for (let round = 0; round < rounds; round++) {
      for (const [name, { sizeBytes, passes, run }] of Object.entries(contenders)) {
        for (let pass = 0; pass < passes; pass++) {
          const started = performance.now()
          const root = hex(await run())
          const rate = sizeBytes / 1e3 / (performance.now() - started)
          if (root !== roots[sizeBytes])
            throw new Error(`${name} found the root ${root} instead of ${roots[sizeBytes]}`)
          best[name] = Math.max(best[name] ?? 0, rate)
        }
      }
    }
    await Promise.all([one[Symbol.asyncDispose](), two[Symbol.asyncDispose]()])
    return report(best, sizeBytes)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

function report(best, sizeBytes) {
  const mbPerSecond = Object.fromEntries(Object.entries(best).map(([name, rate]) => [name, Number(rate.toFixed(1))]))
  const ratio = (name) => Number((best[name] / best.officialZgFile).toFixed(1))
  return {
    node: process.version,
    cpu: cpus()[0]?.model ?? '',
    cores: availableParallelism(),
    sizeBytes,
    mbPerSecond,
    ratioToZgFile: {
      oneThread: ratio('oneThread'),
      oneThreadFromFile: ratio('oneThreadFromFile'),
      twoThreads: ratio('twoThreads'),
      twoThreadsFromFile: ratio('twoThreadsFromFile'),
    },
    bars: { oneThread: 24, twoThreads: 45 },
  }
}

/** Roots a file in constant memory: one piece is read while those before it are hashed. */
async function rootOfFile(path, sizeBytes, kernels, merkleRoot) {
  const file = await open(path)
  try {
    const roots = new Uint8Array((sizeBytes / SEGMENT_SIZE_BYTES) * 32)
    const buffers = Array.from(
      { length: PIECES_UNDERWAY },
      () => new Uint8Array(new SharedArrayBuffer(PIECE_SIZE_BYTES)),
    )
    const underway = []
    for (let at = 0, turn = 0; at < sizeBytes; at += PIECE_SIZE_BYTES, turn = (turn + 1) % PIECES_UNDERWAY) {
      await underway[turn]
      const { bytesRead } = await file.read(buffers[turn], 0, PIECE_SIZE_BYTES, at)
      underway[turn] = kernels
        .segmentRoots(buffers[turn].subarray(0, bytesRead), { lastLeafCount: 1024 })
        .then((found) => {
          roots.set(found, (at / SEGMENT_SIZE_BYTES) * 32)
        })
    }
    await Promise.all(underway)
    return merkleRoot(roots)
  } finally {
    await file.close()
  }
}

async function officialRoot(openSource) {
  const source = await openSource()
  const [tree, error] = await source.merkleTree()
  await source.close?.()
  if (error !== null) throw error
  return Buffer.from(tree.rootHash().slice(2), 'hex')
}

/** The sources as one module: plain Node 20 does not load TypeScript. */
async function loadSources(directory) {
  const outfile = join(directory, 'sources.mjs')
  await build({
    stdin: {
      contents: `export * from '@weightless/kernels'; export { createKernelPool } from './host/src/workers.ts'`,
      resolveDir: packages,
    },
    outfile,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    conditions: ['source'],
    logLevel: 'error',
  })
  return import(pathToFileURL(outfile).href)
}

const hex = (bytes) => Buffer.from(bytes).toString('hex')

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  process.stdout.write(`${JSON.stringify(await benchMerkle(), null, 2)}\n`)
}
