// node packages/node/src/store/store.bench.mjs [directory]
// The segment store beside what the disk does with the same bytes and no store, in one run.
import { mkdir, mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from 'esbuild'

const top = resolve(import.meta.dirname, '../../../..')
await mkdir(join(top, '.cache'), { recursive: true })
const bundle = join(await mkdtemp(join(top, '.cache', 'store-bench-')), 'bench.mjs')
await build({
  stdin: {
    contents: `export * from '@weightless/host'; export { createSegmentStore } from './packages/node/src/store/store.ts'`,
    resolveDir: top,
  },
  outfile: bundle,
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  conditions: ['source'],
  packages: 'external',
  alias: Object.fromEntries(
    ['core', 'host', 'kernels'].map((room) => [`@weightless/${room}`, join(top, 'packages', room, 'src/index.ts')]),
  ),
  logLevel: 'error',
})
const { crc32, createSegmentStore, nodeDisk, openLmdbIndex, systemClock } = await import(pathToFileURL(bundle).href)

const directory = await mkdtemp(join(process.argv[2] ?? tmpdir(), 'weightless-store-bench-'))
const logger = {
  debug() {},
  info(event, fields) {
    if (event === 'store.opened') opened = fields
  },
  warn: console.warn,
  error: console.error,
  child: () => logger,
}
let opened
const openStore = async () => {
  const index = await openLmdbIndex(join(directory, 'index'))
  const store = await createSegmentStore(
    { dataDir: join(directory, 'data'), capacityBytes: 2 ** 40, freeBytesMin: 0 },
    { disk: nodeDisk(), index, clock: systemClock, logger, crc32 },
  )
  return {
    store,
    close: async () => {
      await store.close()
      await index.close()
    },
  }
}

const SEGMENT_BYTES = 262_144
const data = new Uint8Array(SEGMENT_BYTES).map((_, i) => i * 31)
const proof = {
  siblings: Array.from({ length: 10 }, () => new Uint8Array(32)),
  lefts: Array.from({ length: 10 }, () => true),
}
let lastRoot = 0
const newRoot = () => `0x${(++lastRoot).toString(16).padStart(8, '0')}${'ab'.repeat(28)}`
const batch = (count, from = 0) => Array.from({ length: count }, (_, i) => ({ index: from + i, data, proof }))

async function measure(name, { count, bytes, parallel = 1 }, work) {
  const times = []
  const cpu = process.cpuUsage()
  const began = performance.now()
  let left = count
  await Promise.all(
    Array.from({ length: parallel }, async () => {
      while (left-- > 0) {
        const at = performance.now()
        await work()
        times.push(performance.now() - at)
      }
    }),
  )
  const ms = performance.now() - began
  const { user, system } = process.cpuUsage(cpu)
  times.sort((a, b) => a - b)
  const at = (share) => times[Math.min(times.length - 1, Math.floor(times.length * share))].toFixed(2)
  const rate =
    bytes === undefined ? `${((count * 1000) / ms).toFixed(0)}/s` : `${((count * bytes) / ms / 1000).toFixed(0)} MB/s`
  console.log(
    `${name.padEnd(46)} ${rate.padStart(12)}   p50 ${at(0.5)} ms  p99 ${at(0.99)} ms   cpu ${((user + system) / 1e6).toFixed(2)} s`,
  )
}

async function raw(name, { count, sizeBytes }) {
  const file = await open(join(directory, 'raw'), 'w+')
  await file.truncate(count * sizeBytes)
  const block = Buffer.alloc(sizeBytes, 7)
  let at = 0
  await measure(name, { count, bytes: sizeBytes }, async () => {
    const position = at
    at += sizeBytes
    await file.writev([block], position)
    await file.datasync()
  })
  await file.close()
  await rm(join(directory, 'raw'))
}

let { store, close } = await openStore()
const ROUNDS = Number(process.env.ROUNDS ?? 2)
for (let round = 0; round < ROUNDS; round++) {
  await raw('disk alone: 4 MiB writev + fdatasync', { count: 64, sizeBytes: 16 * SEGMENT_BYTES })
  await measure('store: put of 16 segments, one at a time', { count: 64, bytes: 16 * SEGMENT_BYTES }, () =>
    store.put(newRoot(), batch(16)),
  )
  await measure('store: put of 16 segments, 4 at a time', { count: 128, bytes: 16 * SEGMENT_BYTES, parallel: 4 }, () =>
    store.put(newRoot(), batch(16)),
  )
  await measure('store: put of 1 segment, 16 at a time', { count: 512, bytes: SEGMENT_BYTES, parallel: 16 }, () =>
    store.put(newRoot(), batch(1)),
  )
  await raw('disk alone: 64 KiB writev + fdatasync', { count: 300, sizeBytes: 65_536 })
  const small = [{ index: 0, data: data.subarray(0, 50_176), proof: { siblings: [], lefts: [] } }]
  await measure('store: put of 50 KB, one at a time', { count: 300, bytes: 50_176 }, () => store.put(newRoot(), small))
  await measure('store: put of 50 KB, 16 at a time', { count: 1000, bytes: 50_176, parallel: 16 }, () =>
    store.put(newRoot(), small),
  )
  const root = newRoot()
  await store.put(root, batch(64))
  let next = 0
  await measure('store: get of 256 KiB, warm, one at a time', { count: 1000, bytes: SEGMENT_BYTES }, () =>
    store.get(root, next++ % 64),
  )
  await measure('store: get of 256 KiB, warm, 8 at a time', { count: 2000, bytes: SEGMENT_BYTES, parallel: 8 }, () =>
    store.get(root, next++ % 64),
  )
  await measure('store: remove of 64 segments', { count: 1 }, () => store.remove(root))
}
const tiny = data.subarray(0, 256)
await measure('store: put of 256 B, 256 at a time', { count: 20_000, parallel: 256 }, () =>
  store.put(newRoot(), [{ index: 0, data: tiny, proof: { siblings: [], lefts: [] } }]),
)
const { segmentCount } = store.usage()
await close()
await measure(
  `store: open with ${segmentCount} segments`,
  { count: 1 },
  async () => ({ store, close } = await openStore()),
)
await close()
await rm(join(directory, 'index'), { recursive: true })
await measure(
  `store: rebuild of ${segmentCount} segments`,
  { count: 1 },
  async () => ({ store, close } = await openStore()),
)
console.log(JSON.stringify(opened), `rss ${(process.memoryUsage.rss() / 1e6).toFixed(0)} MB`)
await close()
await rm(directory, { recursive: true })
await rm(resolve(bundle, '..'), { recursive: true })
