import { spawn, type ChildProcess } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { build } from 'esbuild'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { call, content, startNetwork, weightless, type Network } from '../network.ts'
import { until } from '../processes.ts'
import type { UploaderResult, UploaderTask } from '../uploader.ts'

// Uploads and downloads whose process is killed, against a network started by `weightless up`: what goes on in another process
// must pay once and give every byte.

const binary = resolve(import.meta.dirname, '../../../packages/cli/bin/weightless.js')
const folder = mkdtempSync(join(tmpdir(), 'weightless-resume-'))
const cache = resolve(import.meta.dirname, '../../../.cache')
const WAIT_MS_MAX = 40_000
let network: Network
let bundle: string

beforeAll(async () => {
  mkdirSync(cache, { recursive: true })
  bundle = join(mkdtempSync(join(cache, 'uploader-')), 'uploader.mjs')
  await build({
    entryPoints: [resolve(import.meta.dirname, '../uploader.ts')],
    outfile: bundle,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    conditions: ['source'],
    logLevel: 'error',
  })
  network = await startNetwork(['--nodes', '4'])
}, 90_000)
afterAll(async () => {
  await network.stop()
  rmSync(folder, { recursive: true, force: true })
  rmSync(resolve(bundle, '..'), { recursive: true, force: true })
})

type Ended = { readonly signal: NodeJS.Signals | null; readonly out: string }

function uploader(task: Omit<UploaderTask, 'networkFile'>): Promise<Ended> {
  const networkFile = join(network.dir, 'network.json')
  const child = spawn(process.execPath, [bundle, JSON.stringify({ networkFile, ...task })], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let out = ''
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()))
  return new Promise((done) => child.once('close', (_, signal) => done({ signal, out })))
}

async function transactionsOf(account: number): Promise<number> {
  const { address } = network.file.accounts[account]!
  return Number((await call(network.file.chain.rpcUrl, 'eth_getTransactionCount', [address, 'latest'])).result)
}

async function bytesOf(root: string): Promise<Buffer> {
  const { code, stdout, stderr } = await weightless(network, ['get', root])
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return stdout
}

describe('an uploader that is killed with -9 and continued in a new process', () => {
  const sizeBytes = 3_000_001
  const moments = ['rooted', 'signed', 'sent', 'anchored', 'storing', 'durable', 'final'] as const

  test.each(moments)('%s: one transaction in total, and every byte is there', async (dieAt) => {
    const seeds = [100 + moments.indexOf(dieAt)]
    const stateFile = join(folder, `${dieAt}.json`)
    const task = { account: 3, sizeBytes, seeds, stateFile }
    const before = await transactionsOf(3)
    expect(await uploader({ ...task, dieAt })).toMatchObject({ signal: 'SIGKILL', out: '' })
    const { signal, out } = await uploader(task)
    expect(signal).toBe(null)
    const [result] = JSON.parse(out) as UploaderResult[]
    expect(result).toMatchObject({ reused: false })
    expect((await transactionsOf(3)) - before).toBe(1)
    expect((await bytesOf(result!.root)).equals(Buffer.from(content(sizeBytes, seeds[0]!)))).toBe(true)
  })

  test('killed at each of these moments, one after the other', async () => {
    const task = { account: 4, sizeBytes, seeds: [199], stateFile: join(folder, 'again.json') }
    const before = await transactionsOf(4)
    for (const dieAt of moments.filter((moment) => moment !== 'storing' && moment !== 'sent')) {
      const { signal } = await uploader({ ...task, dieAt })
      // Some moments do not come again: an upload that is signed is not signed once more.
      expect(signal === 'SIGKILL' || signal === null).toBe(true)
    }
    const { out } = await uploader(task)
    const [result] = JSON.parse(out) as UploaderResult[]
    expect((await transactionsOf(4)) - before).toBe(1)
    expect((await bytesOf(result!.root)).equals(Buffer.from(content(sizeBytes, 199)))).toBe(true)
  })
})

describe('the example of docs/resume.md', () => {
  test('killed once its step is saved and called again, it pays once', async () => {
    const page = readFileSync(resolve(import.meta.dirname, '../../../docs/resume.md'), 'utf8')
    const program = /```ts\n(\/\/ node upload\.mjs[\s\S]*?)```/.exec(page)![1]!
    const example = join(resolve(bundle, '..'), 'example.mjs')
    await build({
      stdin: { contents: program, loader: 'ts', resolveDir: import.meta.dirname },
      outfile: example,
      bundle: true,
      platform: 'node',
      format: 'esm',
      conditions: ['source'],
      logLevel: 'error',
    })
    const file = join(folder, 'photo')
    const bytes = content(30_000_000, 60)
    writeFileSync(file, bytes)
    const run = (): ChildProcess =>
      spawn(process.execPath, [example, join(network.dir, 'network.json'), file], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
    const before = await transactionsOf(2)
    const first = run()
    const stateFile = `${file}.upload.json`
    const step = (): string => (sizeOf(stateFile) === 0 ? '' : JSON.parse(readFileSync(stateFile, 'utf8')).step)
    await until('it has signed', WAIT_MS_MAX, () => ['signed', 'anchored'].includes(step()))
    await killed(first)
    const second = run()
    let out = ''
    second.stdout!.on('data', (chunk: Buffer) => (out += chunk.toString()))
    await new Promise((done) => second.once('close', done))
    expect((await bytesOf(out.trim())).equals(Buffer.from(bytes))).toBe(true)
    expect((await transactionsOf(2)) - before).toBe(1)
    expect(sizeOf(stateFile)).toBe(0)
  })
})

describe('one wallet in ten processes at once', () => {
  test('fifty uploads arrive, each paid for once', async () => {
    const before = await transactionsOf(5)
    const seedsOf = (process: number): number[] => Array.from({ length: 5 }, (_, i) => 1_000 + 5 * process + i)
    const ended = await Promise.all(
      Array.from({ length: 10 }, (_, i) => uploader({ account: 5, sizeBytes: 10_000, seeds: seedsOf(i) })),
    )
    const results = ended.flatMap(({ out }) => JSON.parse(out) as UploaderResult[])
    expect(new Set(results.map(({ seq }) => seq)).size).toBe(50)
    expect((await transactionsOf(5)) - before).toBe(50)
  }, 120_000)
})

describe('weightless put', () => {
  const uploads = (): string[] => {
    try {
      return readdirSync(join(network.dir, 'uploads'))
    } catch {
      return []
    }
  }

  test('killed in the middle and called again, it pays once, and leaves no state behind', async () => {
    const file = join(folder, 'large')
    const bytes = content(48_000_000, 7)
    writeFileSync(file, bytes)
    const before = await transactionsOf(1)
    const child = spawn(process.execPath, [binary, 'put', file, '--dir', network.dir], { stdio: 'ignore' })
    await until('its state is saved', WAIT_MS_MAX, () => uploads().some((name) => name.endsWith('.json')))
    await killed(child)
    const [state] = uploads().filter((name) => name.endsWith('.json'))
    expect(statSync(join(network.dir, 'uploads', state!)).mode & 0o077).toBe(0)
    const { code, stdout } = await weightless(network, ['put', file, '--json'])
    const result = JSON.parse(stdout.toString()) as { readonly root: string }
    expect({ code, ...result }).toMatchObject({ code: 0, resumed: true, reused: false, stage: 'durable' })
    expect((await transactionsOf(1)) - before).toBe(1)
    expect(uploads().filter((name) => name.endsWith('.json'))).toEqual([])
    expect((await bytesOf(result.root)).equals(Buffer.from(bytes))).toBe(true)
  }, 120_000)

  test('names the file of a state that is damaged, and pays for nothing', async () => {
    const file = join(folder, 'damaged')
    writeFileSync(file, content(1_000, 8))
    const { stdout } = await weightless(network, ['put', file, '--json', '--until', 'accepted'])
    const { root } = JSON.parse(stdout.toString()) as { readonly root: string }
    const before = await transactionsOf(1)
    const name = stateNameOf(root)
    writeFileSync(join(network.dir, 'uploads', name), '{"version":1,"step":"signed"', { mode: 0o600 })
    const refused = await weightless(network, ['put', file, '--json'])
    expect(refused.code).toBe(1)
    expect(JSON.parse(refused.stdout.toString())).toMatchObject({
      error: { code: 'UPLOAD_STATE_INVALID', facts: { file: expect.stringContaining(root) } },
    })
    expect(await transactionsOf(1)).toBe(before)
    rmSync(join(network.dir, 'uploads', name))
  })

  /** By root, network and wallet. */
  function stateNameOf(root: string): string {
    const { chain, contracts, accounts } = network.file
    const text = `${chain.chainId} ${contracts.flow} ${accounts[1]!.address}`.toLowerCase()
    return `${root}-${createHash('sha256').update(text).digest('hex').slice(0, 16)}.json`
  }
})

describe('weightless get', () => {
  const sizeBytes = 48_000_000
  let root: string
  let bytes: Buffer
  beforeAll(async () => {
    bytes = Buffer.from(content(sizeBytes, 9))
    const { stdout } = await weightless(network, ['put', '-', '--json'], bytes)
    root = (JSON.parse(stdout.toString()) as { readonly root: string }).root
  }, 120_000)

  async function get(file: string): Promise<{ readonly resumedBytes: number; readonly sizeBytes: number }> {
    const { code, stdout, stderr } = await weightless(network, ['get', root, '-o', file, '--json'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(readFileSync(file).equals(bytes)).toBe(true)
    expect(readdirSync(folder).filter((name) => name.includes('.part'))).toEqual([])
    return JSON.parse(stdout.toString())
  }

  test.each(['SIGKILL', 'SIGINT'] as const)('goes on where %s ended it', async (signal) => {
    const file = join(folder, `copy-${signal}`)
    const child = spawn(process.execPath, [binary, 'get', root, '-o', file, '--dir', network.dir], { stdio: 'ignore' })
    // Stopped while we look: what is there now is what is there when it ends.
    await until('some of it is there', WAIT_MS_MAX, () => {
      child.kill('SIGSTOP')
      if (sizeOf(`${file}.part`) > 2_000_000) return true
      child.kill('SIGCONT')
      return false
    })
    const ended = killed(child, signal)
    child.kill('SIGCONT')
    await ended
    expect(sizeOf(`${file}.part`)).toBeGreaterThan(2_000_000)
    const { resumedBytes } = await get(file)
    expect(resumedBytes).toBeGreaterThan(1_000_000)
    expect(resumedBytes).toBeLessThan(sizeBytes)
  })

  test('takes from FILE.part what it can prove, and no more', async () => {
    const file = join(folder, 'copy-proven')
    writeFileSync(`${file}.part`, bytes.subarray(0, 20_000_000))
    // 76 whole segments of 262 144 bytes.
    expect((await get(file)).resumedBytes).toBe(76 * 262_144)
    const spoiled = Buffer.from(bytes.subarray(0, 20_000_000))
    spoiled[70 * 262_144]! ^= 1
    writeFileSync(`${file}.part`, spoiled)
    const { resumedBytes } = await get(file)
    expect(resumedBytes).toBe(64 * 262_144)
  })

  test.each([
    ['of another file', () => Buffer.from(content(30_000_000, 10))],
    ['longer than the object', () => Buffer.alloc(60_000_000, 1)],
  ])('replaces a FILE.part %s', async (_, part) => {
    const file = join(folder, 'copy-foreign')
    writeFileSync(`${file}.part`, part())
    expect((await get(file)).resumedBytes).toBe(0)
  })

  test('follows no link that has the name of its FILE.part', async () => {
    const file = join(folder, 'copy-link')
    const precious = join(folder, 'precious')
    writeFileSync(precious, 'mine')
    symlinkSync(precious, `${file}.part`)
    const { code } = await weightless(network, ['get', root, '-o', file, '--json'])
    expect(code).toBe(0)
    expect(readFileSync(file).equals(bytes)).toBe(true)
    expect(readFileSync(precious, 'utf8')).toBe('mine')
    rmSync(`${file}.part`)
  })

  test('twice at once into one file gives the file', async () => {
    const file = join(folder, 'copy-twice')
    const both = await Promise.all([0, 1].map(() => weightless(network, ['get', root, '-o', file, '--json'])))
    expect(both.map(({ code }) => code)).toEqual([0, 0])
    expect(readFileSync(file).equals(bytes)).toBe(true)
    expect(readdirSync(folder).filter((name) => name.includes('.part'))).toEqual([])
  })
})

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0
}

async function killed(child: ChildProcess, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
  const ended = new Promise((done) => child.once('close', done))
  child.kill(signal)
  await ended
}
