import { mkdtemp, open, readFile, rename, rm, type FileHandle } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openPastCache } from './pastCache.ts'

let directory: string
let handle: FileHandle
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'weightless-past-'))
  handle = await open(join(directory, 'a'), 'w+')
})
afterEach(async () => {
  await handle.close()
  await rm(directory, { recursive: true })
})

test('what it says it wrote is in the file, and of what it refuses nothing is', async () => {
  // A system that has no such writes has nothing to show here: the file is written through the cache (sim/compliance/disk.ts).
  const past = await openPastCache(join(directory, 'a'), handle)
  const megabytes = new Uint8Array(2 * 1024 ** 2).map((_, i) => (i >>> 12) + 1)
  const isWritten =
    (await past?.write([megabytes.subarray(0, 100), megabytes.subarray(100)], 4096, megabytes.length)) ?? false
  const expected = isWritten ? Buffer.concat([new Uint8Array(4096), megabytes]) : Buffer.alloc(0)
  expect(Buffer.compare(await readFile(join(directory, 'a')), expected)).toBe(0)
  for (const [position, sizeBytes] of [
    [1, 1024 ** 2],
    [0, 1024 ** 2 + 1],
    [0, 4096],
  ] as const) {
    expect((await past?.write([new Uint8Array(sizeBytes).fill(255)], position, sizeBytes)) ?? false).toBe(false)
  }
  expect(Buffer.compare(await readFile(join(directory, 'a')), expected)).toBe(0)
  await past?.close()
})

test('a file that has got another under its name is not written past the cache: the wrong one would be', async () => {
  await (await open(join(directory, 'b'), 'w')).close()
  await rename(join(directory, 'b'), join(directory, 'a'))
  expect(await openPastCache(join(directory, 'a'), handle)).toBeUndefined()
})

test('writes at once, of several files, do not mix', async () => {
  const others = await Promise.all([1, 2, 3].map((n) => open(join(directory, `f${n}`), 'w+')))
  const pasts = await Promise.all(others.map((other, i) => openPastCache(join(directory, `f${i + 1}`), other)))
  const sizeBytes = 1024 ** 2 + 4096
  const writes = [0, 1, 2, 3, 4, 5].map(async (n) =>
    pasts[n >> 1]?.write([new Uint8Array(sizeBytes).fill(n + 1)], (n & 1) * sizeBytes, sizeBytes),
  )
  const written = await Promise.all(writes)
  for (const [i, other] of others.entries()) {
    const expected = written[2 * i]
      ? Buffer.concat([0, 1].map((n) => new Uint8Array(sizeBytes).fill(2 * i + n + 1)))
      : Buffer.alloc(0)
    expect(Buffer.compare(await readFile(join(directory, `f${i + 1}`)), expected)).toBe(0)
    await pasts[i]?.close()
    await other.close()
  }
})
