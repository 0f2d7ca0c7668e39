import { spawn } from 'node:child_process'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { build } from 'esbuild'
import { afterAll, beforeAll, expect, test } from 'vitest'

// A file that takes no more bytes, in a real process: what lmdb does then ends the process if anybody forgets to listen.

let bundle: string
let directory: string

beforeAll(async () => {
  // Inside the checkout, so that the bundle finds lmdb.
  const cache = resolve(import.meta.dirname, '../../.cache')
  await mkdir(cache, { recursive: true })
  bundle = join(await mkdtemp(join(cache, 'cut-short-')), 'writer.mjs')
  await build({
    entryPoints: [join(import.meta.dirname, 'cutShortIndexWriter.ts')],
    outfile: bundle,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    conditions: ['source'],
    packages: 'external',
    alias: Object.fromEntries(
      ['core', 'host', 'kernels'].map((room) => [
        `@weightless/${room}`,
        resolve(import.meta.dirname, `../../packages/${room}/src/index.ts`),
      ]),
    ),
    logLevel: 'error',
  })
  directory = await mkdtemp(join(tmpdir(), 'weightless-cut-short-'))
})
afterAll(async () => {
  await rm(resolve(bundle, '..'), { recursive: true })
  await rm(directory, { recursive: true })
})

test('a commit that finds no room fails as a whole, the process lives, and what was there before is read', async () => {
  // In blocks of 512 bytes: one MiB a file. Node itself ignores the signal that comes with it.
  const limited = ['-c', 'ulimit -f 2048; exec "$0" "$@"', process.execPath, bundle, join(directory, 'index')]
  const writer = spawn('sh', limited, { stdio: ['ignore', 'pipe', 'ignore'] })
  let text = ''
  writer.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()))
  const code = await new Promise<number | null>((done) => writer.once('close', done))
  expect(code).toBe(0)
  const told = JSON.parse(text) as { readonly committed: number; readonly failures: string[]; readonly rows: number }
  expect(told.failures.length).toBeGreaterThanOrEqual(5)
  expect(new Set(told.failures)).toEqual(new Set(['INDEX_FAILED']))
  expect(told.committed).toBeGreaterThan(0)
  expect(told.rows).toBe(told.committed)
})
