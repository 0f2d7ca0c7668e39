import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createSpoolFile } from './spool.ts'

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

test('an aborted reader reads nothing', async () => {
  await using spool = await createSpoolFile(directory)
  await expect(spool.read(0, 1, { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow('enough')
})
