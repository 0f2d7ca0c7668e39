import { mkdtemp, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openLmdbIndex } from './lmdbIndex.ts'

// What every Index must do is in sim/compliance/index.ts; here is what only lmdb has.

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'weightless-lmdb-'))
})
afterEach(() => rm(directory, { recursive: true }))

test('the map grows with its content', async () => {
  const index = await openLmdbIndex(join(directory, 'index'), { mapSizeBytes: 1024 ** 2 })
  for (let i = 0; i < 24; i++)
    await index.transaction([{ key: Uint8Array.of(i), value: new Uint8Array(1024 ** 2).fill(i) }], {
      durability: 'written',
    })
  for (let i = 0; i < 24; i++) expect(index.get(Uint8Array.of(i))?.[1024 ** 2 - 1]).toBe(i)
  await index.close()
})

test('an index is a directory of mode 700, whatever its name looks like', async () => {
  const path = join(directory, 'node-1.5')
  const index = await openLmdbIndex(path)
  await index.close()
  const found = await stat(path)
  expect([found.isDirectory(), (found.mode & 0o777).toString(8)]).toEqual([true, '700'])
})

test.each([
  ['a text', Buffer.from('this is no lmdb file'.repeat(1000))],
  ['a byte', Buffer.from('x')],
  ['zeros', Buffer.alloc(20_000)],
])('%s is no index and is refused with the next step', async (_, content) => {
  await writeFile(join(directory, 'data.mdb'), content)
  await expect(openLmdbIndex(directory)).rejects.toMatchObject({ code: 'INDEX_OPEN_FAILED' })
})

test('an index that was cut short is refused; an empty file is an empty index', async () => {
  const path = join(directory, 'index')
  const index = await openLmdbIndex(path)
  for (let i = 0; i < 3; i++)
    await index.transaction([{ key: Uint8Array.of(i), value: new Uint8Array(100_000) }], { durability: 'synced' })
  await index.close()
  await truncate(join(path, 'data.mdb'), 16_384)
  await expect(openLmdbIndex(path)).rejects.toMatchObject({ code: 'INDEX_OPEN_FAILED', facts: { reason: 'cut short' } })
  await truncate(join(path, 'data.mdb'), 0)
  const empty = await openLmdbIndex(path)
  expect([...empty.range({ from: Uint8Array.of(0), to: Uint8Array.of(255) })]).toEqual([])
  await empty.close()
})

test('a file in the place of its directory is refused', async () => {
  await writeFile(join(directory, 'data.mdb'), 'x')
  await expect(openLmdbIndex(join(directory, 'data.mdb'))).rejects.toMatchObject({ code: 'DIRECTORY_FAILED' })
})

test('keys that lmdb would refuse are our own bug, and nothing of their transaction happens', async () => {
  const index = await openLmdbIndex(join(directory, 'index'))
  const good = { key: Uint8Array.of(1), value: Uint8Array.of(1) }
  for (const key of [new Uint8Array(0), new Uint8Array(1979)]) {
    await expect(
      index.transaction([good, { key, value: Uint8Array.of(1) }], { durability: 'written' }),
    ).rejects.toThrow('invariant broken')
  }
  expect(index.get(good.key)).toBeUndefined()
  await index.transaction([{ key: new Uint8Array(1978), value: Uint8Array.of(1) }], { durability: 'synced' })
  await index.close()
})
