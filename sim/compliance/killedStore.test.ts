import { spawn, type ChildProcessByStdio } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { build } from 'esbuild'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { crc32, nodeDisk, openLmdbIndex, systemClock } from '@weightless/host'
import { createSegmentStore } from '../../packages/node/src/store/store.ts'
import { silentLogger } from '../silentLogger.ts'
import { isRemovedLater, segmentsOfPut } from './killedStoreWriter.ts'
import { expectSame } from './segmentStore.ts'
import { rootNumber } from './storeSamples.ts'

// Real files, a real process, SIGKILL: what the simulated disk says about processes that end is checked against the machine.

const KILLS = 3
let bundle: string
let directory: string

beforeAll(async () => {
  // Inside the checkout, so that the bundle finds lmdb.
  const cache = resolve(import.meta.dirname, '../../.cache')
  await mkdir(cache, { recursive: true })
  bundle = join(await mkdtemp(join(cache, 'killed-store-')), 'writer.mjs')
  await build({
    entryPoints: [join(import.meta.dirname, 'killedStoreWriter.ts')],
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
  directory = await mkdtemp(join(tmpdir(), 'weightless-killed-'))
})
afterAll(async () => {
  await rm(resolve(bundle, '..'), { recursive: true })
  await rm(directory, { recursive: true })
})

test('kill -9 in the middle of writing loses nothing that was acknowledged, again and again', async () => {
  const acked = new Set<number>()
  const removed = new Set<number>()
  for (let kill = 0; kill < KILLS; kill++) {
    const before = acked.size
    const writer: ChildProcessByStdio<null, Readable, null> = spawn(
      process.execPath,
      [bundle, directory, String(kill * 100_000 + 1)],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    )
    const exited = once(writer, 'exit')
    for await (const line of createInterface(writer.stdout)) {
      const [word, number] = line.split(' ')
      if (word === 'put') acked.add(Number(number))
      if (word === 'removed') removed.add(Number(number))
      if (acked.size >= before + 25 + kill * 17) writer.kill('SIGKILL')
    }
    await exited
    expect(acked.size).toBeGreaterThan(before)

    const index = await openLmdbIndex(join(directory, 'index'))
    const store = await createSegmentStore(
      { dataDir: join(directory, 'data'), capacityBytes: 2 ** 32, freeBytesMin: 0 },
      { disk: nodeDisk(), index, clock: systemClock, logger: silentLogger, crc32 },
    )
    for (const number of acked) {
      for (const segment of segmentsOfPut(number)) {
        const found = await store.get(rootNumber(number), segment.index)
        if (removed.has(number)) expect(found).toBeUndefined()
        // A removal that had begun may have taken effect.
        else if (found !== undefined || !isRemovedLater(number)) expectSame(found, segment)
      }
    }
    await store.close()
    await index.close()
  }
  expect(removed.size).toBeGreaterThan(0)
})
