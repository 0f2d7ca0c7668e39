import { execFile } from 'node:child_process'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { SEGMENT_SIZE_BYTES } from '@weightless/core'
import { withRelaxedSimd } from '@weightless/host'
import { createErasureKernel, defaultErasureKernel, fingerprintPoint } from '@weightless/kernels'
import type { ErasureCode, ErasureKernel } from '@weightless/kernels'
import { fail } from '../errors.ts'
import type { Lab } from './lab.ts'
import type { Scenario } from './scenario.ts'

const CODES: readonly ErasureCode[] = [
  { k: 4, m: 2 },
  { k: 10, m: 4 },
  { k: 29, m: 51 },
  { k: 64, m: 64 },
]
/** Contenders take turns; of all rounds the best counts, because other load only ever adds time. */
const ROUNDS = 5
const NPM_PEER = '@digitaldefiance/reed-solomon-erasure.wasm'
/** The fastest that npm has, as native code: it needs a compiler, so it is no development dependency. */
const NATIVE_PEER = '@ronomon/reed-solomon'

/** MB of data per CPU second of one thread, shards of one segment. Decoding rebuilds the first min(k, m) data shards. */
type Rates = { readonly encode: number; readonly decode: number }
type IsalRates = Rates & {
  readonly encodeAvx2: number
  readonly encodeSse: number
  /** What the processor lets it use: AVX-512, AVX2, SSE. */
  readonly widest: string
  readonly parity: string
}
type NpmCodec = {
  encode(shards: Uint8Array, k: number, m: number): number
  reconstruct(shards: Uint8Array, k: number, m: number, available: readonly boolean[]): number
}
type NativeCodec = {
  readonly MAX_K: number
  readonly MAX_M: number
  create(k: number, m: number): unknown
  encode(...args: readonly unknown[]): void
}

export const erasure: Scenario = {
  name: 'erasure',
  about: 'Reed–Solomon and fingerprints on one thread, beside ISA-L and packages of npm',
  async run(lab) {
    const budgetMs = lab.quick ? 20 : 300
    const isal = process.env['WEIGHTLESS_ISAL']
    const npm = npmCodec(lab)
    const native = nativeCodec()
    const kernel = withRelaxedSimd(defaultErasureKernel)
    const plainSimd = kernel.tier === 'relaxed' ? createErasureKernel('simd') : undefined
    const rows: (string | number)[][] = []
    for (const code of CODES) {
      const stripe = stripeOf(code)
      const best = {
        ours: [] as Rates[],
        plainSimd: [] as Rates[],
        isal: [] as IsalRates[],
        npm: [] as Rates[],
        native: [] as Rates[],
      }
      for (let round = 0; round < ROUNDS; round++) {
        lab.note(`${code.k}+${code.m}, round ${round + 1} of ${ROUNDS}`)
        lab.signal.throwIfAborted()
        best.ours.push(ourRates(kernel, code, stripe, budgetMs))
        if (plainSimd !== undefined) best.plainSimd.push(ourRates(plainSimd, code, stripe, budgetMs))
        if (isal !== undefined) best.isal.push(await isalRates(isal, code, stripe, { budgetMs, signal: lab.signal }))
        if (npm !== undefined) best.npm.push(npmRates(npm, code, stripe, budgetMs))
        if (native !== undefined && code.k <= native.MAX_K && code.m <= native.MAX_M)
          best.native.push(await nativeRates(native, code, stripe, budgetMs))
      }
      rows.push(...rowsOf(code, best))
    }
    rows.push(['fingerprint', 'ours', rounded(fingerprintRate(kernel, budgetMs)), '', '', ''])
    return {
      columns: ['code', 'who', 'encode, MB/s', 'decode, MB/s', 'ours / it, encode', 'ours / it, decode'],
      rows,
      notes: [
        `MB of data per CPU second, shards of ${SEGMENT_SIZE_BYTES} bytes, one thread, best of ${ROUNDS} rounds in turns; ours copies into and out of its memory, ISA-L works in place`,
        'decode: the first min(k, m) data shards are lost',
        'bar: 10+4 at least 0.35 of ISA-L as it runs on this processor',
        isal === undefined
          ? 'ISA-L: not measured (WEIGHTLESS_ISAL names no program; packages/cli/bench/isal.c says how it is made)'
          : 'ISA-L 2.30 with its tables prepared once; its parity was ours, byte for byte; it has no GFNI, which came with 2.31',
        npm === undefined
          ? `${NPM_PEER}: not measured, it is not installed`
          : `npm, WASM: ${NPM_PEER} 1.0.2, another matrix`,
        native === undefined
          ? `${NATIVE_PEER}: not measured (WEIGHTLESS_RONOMON names no folder of it: npm i --prefix FOLDER ${NATIVE_PEER})`
          : `npm, native: ${NATIVE_PEER} 6.0.0, another matrix, at most ${native.MAX_K}+${native.MAX_M}; in place, on one thread of the pool of Node`,
      ],
    }
  },
}

function rowsOf(
  { k, m }: ErasureCode,
  all: {
    readonly ours: readonly Rates[]
    readonly plainSimd: readonly Rates[]
    readonly isal: readonly IsalRates[]
    readonly npm: readonly Rates[]
    readonly native: readonly Rates[]
  },
): (string | number)[][] {
  const best = (rates: readonly Rates[]): Rates => ({
    encode: Math.max(...rates.map(({ encode }) => encode)),
    decode: Math.max(...rates.map(({ decode }) => decode)),
  })
  const ours = best(all.ours)
  const row = (who: string, { encode, decode }: Rates): (string | number)[] => [
    `${k}+${m}`,
    who,
    rounded(encode),
    decode === 0 ? '' : rounded(decode),
    (ours.encode / encode).toFixed(2),
    decode === 0 ? '' : (ours.decode / decode).toFixed(2),
  ]
  const rows = [row('ours', ours)]
  if (all.isal.length > 0) {
    const { widest } = all.isal[0]!
    rows.push(row(widest === '' ? 'ISA-L' : `ISA-L, ${widest}`, best(all.isal)))
    const held = {
      'AVX2, 32 bytes at once': Math.max(...all.isal.map(({ encodeAvx2 }) => encodeAvx2)),
      'SSE, 16 as in WASM': Math.max(...all.isal.map(({ encodeSse }) => encodeSse)),
    }
    for (const [width, encode] of Object.entries(held))
      if (encode > 0) rows.push(row(`ISA-L held to ${width}`, { encode, decode: 0 }))
  }
  if (all.plainSimd.length > 0) rows.push(row('ours without relaxed SIMD', best(all.plainSimd)))
  if (all.npm.length > 0) rows.push(row('npm, WASM', best(all.npm)))
  if (all.native.length > 0) rows.push(row('npm, native', best(all.native)))
  return rows
}

/** k data shards of the bytes that isal.c makes, and room for m of parity. */
function stripeOf({ k, m }: ErasureCode): Uint8Array[] {
  let state = 1
  return Array.from({ length: k + m }, (_, slot) => {
    const shard = new Uint8Array(SEGMENT_SIZE_BYTES)
    for (let at = 0; at < shard.length && slot < k; at++) {
      state ^= state << 13
      state ^= state >>> 17
      state ^= state << 5
      shard[at] = state
    }
    return shard
  })
}

function ourRates(kernel: ErasureKernel, code: ErasureCode, stripe: readonly Uint8Array[], budgetMs: number): Rates {
  const { k, m } = code
  const encoding = { code, data: stripe.slice(0, k), parity: stripe.slice(k) }
  const lost = Math.min(k, m)
  const shards = stripe.map((shard, slot) => (slot < lost ? undefined : shard))
  const wanted = stripe.slice(0, lost).map((shard, slot) => ({ slot, into: new Uint8Array(shard.length) }))
  const rates = {
    encode: rateOf(k, () => kernel.encodeParity(encoding), budgetMs),
    decode: rateOf(k, () => kernel.recover({ code, shards, wanted }), budgetMs),
  }
  if (wanted.some(({ slot, into }) => Buffer.compare(into, stripe[slot]!) !== 0))
    throw fail('BENCH_FAILED', { said: 'a shard came back wrong' })
  return rates
}

async function isalRates(
  program: string,
  { k, m }: ErasureCode,
  stripe: readonly Uint8Array[],
  { budgetMs, signal }: { readonly budgetMs: number; readonly signal: AbortSignal },
): Promise<IsalRates> {
  const words = [k, m, SEGMENT_SIZE_BYTES, budgetMs].map(String)
  const rates = JSON.parse((await promisify(execFile)(program, words, { signal })).stdout) as IsalRates
  let sum = 2_166_136_261
  for (const shard of stripe.slice(k)) for (const byte of shard) sum = Math.imul(sum ^ byte, 16_777_619)
  if (rates.parity !== (sum >>> 0).toString(16).padStart(8, '0'))
    throw fail('BENCH_FAILED', { said: 'the parity of ISA-L is another' })
  return rates
}

function npmRates(codec: NpmCodec, { k, m }: ErasureCode, stripe: readonly Uint8Array[], budgetMs: number): Rates {
  const shards = new Uint8Array((k + m) * SEGMENT_SIZE_BYTES)
  for (const [slot, shard] of stripe.entries()) shards.set(shard, slot * SEGMENT_SIZE_BYTES)
  const available = stripe.map((_, slot) => slot >= Math.min(k, m))
  return {
    encode: rateOf(k, () => codec.encode(shards, k, m), budgetMs),
    decode: rateOf(k, () => codec.reconstruct(shards, k, m, available), budgetMs),
  }
}

async function nativeRates(
  codec: NativeCodec,
  { k, m }: ErasureCode,
  stripe: readonly Uint8Array[],
  budgetMs: number,
): Promise<Rates> {
  const data = Buffer.concat(stripe.slice(0, k))
  const parity = Buffer.alloc(m * SEGMENT_SIZE_BYTES)
  const context = codec.create(k, m)
  const flags = (from: number, to: number): number => 2 ** to - 2 ** from
  const run = (sources: number, targets: number): Promise<void> =>
    new Promise(
      (done, failed) =>
      codec.encode(
        context, sources, targets, data, 0, data.length, parity, 0, parity.length,
        (error: unknown) => (error === undefined ? done() : failed(error as Error)),
      ), // prettier-ignore
    )
  const lost = Math.min(k, m)
  return {
    encode: await laterRateOf(k, () => run(flags(0, k), flags(k, k + m)), budgetMs),
    decode: await laterRateOf(k, () => run(flags(lost, k + m), flags(0, lost)), budgetMs),
  }
}

/** In a folder of its own, with what npm has compiled. */
function nativeCodec(): NativeCodec | undefined {
  const folder = process.env['WEIGHTLESS_RONOMON']
  return folder === undefined ? undefined : (createRequire(join(folder, 'index.js'))(NATIVE_PEER) as NativeCodec)
}

/** Beside the bundle in a source checkout, where development dependencies are. */
function npmCodec(lab: Lab): NpmCodec | undefined {
  const require = createRequire(resolve(dirname(lab.entry), '..', 'bench', 'official.mjs'))
  try {
    const peer = require(NPM_PEER) as { readonly ReedSolomonErasure: { fromCurrentDirectorySync(): NpmCodec } }
    return peer.ReedSolomonErasure.fromCurrentDirectorySync()
  } catch {
    return undefined
  }
}

function fingerprintRate(kernel: ErasureKernel, budgetMs: number): number {
  const point = fingerprintPoint(new Uint8Array(32).fill(1), new Uint8Array(32).fill(2))
  const shards = stripeOf({ k: 8, m: 0 })
  let best = 0
  for (let round = 0; round < ROUNDS; round++) {
    const rate = rateOf(8, () => shards.forEach((shard) => kernel.fingerprint(point, shard)), budgetMs)
    best = Math.max(best, rate)
  }
  return best
}

/** MB of data per CPU second of this process. */
function rateOf(shardCount: number, work: () => void, budgetMs: number): number {
  work()
  const started = process.cpuUsage()
  let passes = 0
  let spentUs = 0
  while (spentUs < budgetMs * 1000) {
    work()
    passes++
    const { user, system } = process.cpuUsage(started)
    spentUs = user + system
  }
  return (passes * shardCount * SEGMENT_SIZE_BYTES) / spentUs
}

/** The same of work that another thread does. */
async function laterRateOf(shardCount: number, work: () => Promise<void>, budgetMs: number): Promise<number> {
  await work()
  const started = process.cpuUsage()
  let passes = 0
  let spentUs = 0
  while (spentUs < budgetMs * 1000) {
    await work()
    passes++
    const { user, system } = process.cpuUsage(started)
    spentUs = user + system
  }
  return (passes * shardCount * SEGMENT_SIZE_BYTES) / spentUs
}

function rounded(rate: number): string {
  return rate.toFixed(0)
}
