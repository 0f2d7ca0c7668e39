import { spawnSync } from 'node:child_process'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createKernel } from '@weightless/kernels'
import { createSpoolFile } from './spool.ts'
import { createKernelPool } from './workers.ts'

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'weightless-spool-'))
})
afterEach(() => rm(directory, { recursive: true }))

test('what is appended is read back by range, cut at its end', async () => {
  await using spool = await createSpoolFile(directory)
  await spool.append(Uint8Array.of(0, 1, 2))
  await spool.append(new Uint8Array(0))
  await spool.append(Uint8Array.of(3, 4))
  expect(spool.sizeBytes).toBe(5)
  expect([...(await spool.read(1, 4))]).toEqual([1, 2, 3])
  expect([...(await spool.read(3, 100))]).toEqual([3, 4])
  expect([...(await spool.read(9, 10))]).toEqual([])
})

test('it fills parts of the caller, and a pool hashes it where it is', async () => {
  await using pool = createKernelPool({ threads: 1 })
  await using spool = await createSpoolFile(directory, { pool })
  const content = Uint8Array.from({ length: 300_000 }, (_, i) => i >> 3)
  await spool.append(content)
  const parts = [new Uint8Array(100_000), new Uint8Array(150_000)]
  expect(await spool.readInto(parts, 7)).toBe(250_000)
  expect(Buffer.concat(parts).equals(content.subarray(7, 250_007))).toBe(true)
  expect(await spool.readInto([new Uint8Array(10)], 299_998)).toBe(2)
  const roots = await spool.segmentRoots!({ start: 0, end: 300_000, lastLeafCount: 148 })
  expect(roots).toEqual(createKernel('simd').segmentRoots(content, 148))
})

test.skipIf(process.platform === 'win32')(
  'has no name while it is open: no end of the process leaves it behind',
  async () => {
    const spool = await createSpoolFile(join(directory, 'made'))
    await spool.append(Uint8Array.of(1))
    expect(await readdir(join(directory, 'made'))).toEqual([])
    expect([...(await spool.read(0, 1))]).toEqual([1])
    await spool.close()
    await spool.close()
    await expect(spool.read(0, 1)).rejects.toThrow()
  },
)

test('what a killed process left is removed at the next start; what lives, and what is not ours, stays', async () => {
  const dead = spawnSync(process.execPath, ['-e', '']).pid
  const kept = [`spool-${process.pid}-0123456789abcdef`, 'spool-notes', `spool-${dead}-mine`]
  for (const name of [...kept, `spool-${dead}-0123456789abcdef`]) await writeFile(join(directory, name), 'x')
  await (await createSpoolFile(directory)).close()
  expect((await readdir(directory)).sort()).toEqual([...kept].sort())
})

test('an aborted reader reads nothing', async () => {
  await using spool = await createSpoolFile(directory)
  await expect(spool.read(0, 1, { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow('enough')
})
