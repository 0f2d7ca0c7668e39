import { appendFile, mkdtemp, rename, rm, truncate, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createKernel } from '@weightless/kernels'
import { openFileSource } from './fileSource.ts'
import { createKernelPool } from './workers.ts'

let directory: string
let file: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'weightless-source-'))
  file = join(directory, 'file')
  await writeFile(file, '0123456789')
})
afterEach(() => rm(directory, { recursive: true }))

test('ranges are read again and again, cut at the end of the file', async () => {
  await using source = await openFileSource(file)
  expect(source.sizeBytes).toBe(10)
  for (let i = 0; i < 2; i++) expect(Buffer.from(await source.read(2, 5)).toString()).toBe('234')
  expect(Buffer.from(await source.read(8, 100)).toString()).toBe('89')
  expect((await source.read(10, 20)).length).toBe(0)
  await source.checkUnchanged()
})

test('parts of the caller are filled in turn, and the answer says how far the file went', async () => {
  await using source = await openFileSource(file)
  const parts = [new Uint8Array(2), new Uint8Array(0), new Uint8Array(3)]
  expect(await source.readInto(parts, 4)).toBe(5)
  expect(Buffer.concat(parts).toString()).toBe('45678')
  const long = new Uint8Array(6)
  expect(await source.readInto([long.subarray(0, 1), long.subarray(1)], 7)).toBe(3)
  expect(Buffer.from(long).toString()).toBe('789\0\0\0')
})

test('with a pool its segments are hashed where they are', async () => {
  const content = new Uint8Array(300_000).fill(7)
  await writeFile(file, content)
  await using pool = createKernelPool({ threads: 1 })
  await using source = await openFileSource(file, { pool })
  const roots = await source.segmentRoots!({ start: 0, end: 300_000, lastLeafCount: 148 })
  expect(roots).toEqual(createKernel('simd').segmentRoots(content, 148))
  const signal = AbortSignal.abort(new Error('gone'))
  await expect(source.segmentRoots!({ start: 0, end: 1, lastLeafCount: 1 }, { signal })).rejects.toThrow('gone')
  await using without = await openFileSource(file)
  expect(without.segmentRoots).toBeUndefined()
})

test.each([
  ['grows', () => appendFile(file, 'x')],
  ['shrinks', () => truncate(file, 3)],
  [
    'is written in place',
    async () => {
      await writeFile(file, '9876543210')
      await utimes(file, new Date(), new Date(Date.now() + 5000))
    },
  ],
  [
    'is replaced by another of the same size',
    async () => {
      await writeFile(`${file}.new`, '0123456789')
      await rename(`${file}.new`, file)
    },
  ],
  ['is deleted', () => rm(file)],
])('a file that %s while it is being read is FILE_CHANGED', async (_, change) => {
  await using pool = createKernelPool({ threads: 1 })
  await using source = await openFileSource(file, { pool })
  await source.read(0, 5)
  await change()
  await expect(source.read(5, 10)).rejects.toMatchObject({ code: 'FILE_CHANGED' })
  await expect(source.readInto([new Uint8Array(5)], 5)).rejects.toMatchObject({ code: 'FILE_CHANGED' })
  await expect(source.segmentRoots!({ start: 0, end: 10, lastLeafCount: 1 })).rejects.toMatchObject({
    code: 'FILE_CHANGED',
  })
  await expect(source.checkUnchanged()).rejects.toMatchObject({ code: 'FILE_CHANGED' })
})

test('no file is FILE_MISSING, a directory FILE_NOT_REGULAR', async () => {
  await expect(openFileSource(join(directory, 'missing'))).rejects.toMatchObject({ code: 'FILE_MISSING' })
  await expect(openFileSource(directory)).rejects.toMatchObject({ code: 'FILE_NOT_REGULAR' })
})
