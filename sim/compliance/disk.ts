import { afterEach, beforeEach, expect, test } from 'vitest'
import { isFailure, type Disk, type DiskFile, type DiskOpenOptions } from '@weightless/core'

/** What every Disk must do. `make` gives a disk and an existing, empty directory on it. */
export function diskCompliance(
  make: () => Promise<{ readonly disk: Disk; readonly directory: string; readonly dispose?: () => Promise<void> }>,
): void {
  let disk: Disk
  let directory: string
  let dispose: (() => Promise<void>) | undefined
  const open: DiskFile[] = []

  beforeEach(async () => {
    ;({ disk, directory, dispose } = await make())
  })
  afterEach(async () => {
    await Promise.all(open.splice(0).map((file) => file.close()))
    await dispose?.()
  })

  async function file(name = 'a', options: DiskOpenOptions = { create: true }): Promise<DiskFile> {
    const opened = await disk.open(`${directory}/${name}`, options)
    open.push(opened)
    return opened
  }
  const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values)
  async function read(from: DiskFile, position: number, sizeBytes: number): Promise<number[]> {
    const into = new Uint8Array(sizeBytes)
    return [...into.subarray(0, await from.read(into, position))]
  }

  test('parts are written one behind the other at a position, and read back', async () => {
    const a = await file()
    await a.write([bytes(1, 2), bytes(), bytes(3)], 5)
    expect(await read(a, 5, 3)).toEqual([1, 2, 3])
    expect(await read(a, 0, 6)).toEqual([0, 0, 0, 0, 0, 1])
  })

  test('what was written stays when the writer uses its buffer again, a piece of a pool as well as an array', async () => {
    const a = await file()
    const pooled = Buffer.from(new Uint8Array(1024).fill(7))
    await a.write([pooled], 0)
    pooled.fill(9)
    await a.sync()
    expect(new Set(await read(a, 0, 1024))).toEqual(new Set([7]))
  })

  test('a read at the end of a file is short, behind it empty', async () => {
    const a = await file()
    await a.write([bytes(1, 2, 3)], 0)
    expect(await read(a, 1, 10)).toEqual([2, 3])
    expect(await read(a, 3, 10)).toEqual([])
    expect(await read(a, 100, 10)).toEqual([])
  })

  test('large vectored writes arrive whole', async () => {
    const a = await file()
    const parts = Array.from({ length: 3000 }, (_, i) => new Uint8Array(1000).fill(i))
    await a.write(parts, 123)
    const into = new Uint8Array(3_000_000)
    expect(await a.read(into, 123)).toBe(3_000_000)
    expect(Array.from({ length: 3000 }, (_, i) => into[i * 1000 + 999])).toEqual(parts.map((_, i) => i & 255))
  })

  test('past the cache or through it, large or small, each write is read as it was written last', async () => {
    const a = await file('a', { create: true, sizeBytes: 4 * 1024 ** 2, pastCache: true })
    const expected = new Uint8Array(4 * 1024 ** 2)
    const page = 4096
    // Whole pages and not, at pages and not, over one another: what is in the cache of a place must not outlive what is written past it.
    const writes = [
      { position: 0, sizes: [72, 262_144, page - 72] },
      { position: 5 * page, sizes: [page] },
      { position: 16 * page, sizes: [1_500_000, 100, 400 * page - 1_500_100] },
      { position: 20 * page + 1, sizes: [300_000] },
      { position: 20 * page, sizes: [64 * page] },
      { position: 512 * page, sizes: Array.from({ length: 512 }, () => page) },
      { position: 700 * page, sizes: [10] },
    ]
    for (const [i, { position, sizes }] of writes.entries()) {
      const parts = sizes.map((sizeBytes, j) => new Uint8Array(sizeBytes).fill(16 * (i + 1) + (j % 16)))
      let at = position
      for (const part of parts) {
        expected.set(part, at)
        at += part.length
      }
      await a.write(parts, position)
      const into = new Uint8Array(expected.length)
      expect(await a.read(into, 0)).toBe(into.length)
      expect(Buffer.compare(into, expected)).toBe(0)
    }
    await a.sync()
    const again = await file('a', { create: false })
    const into = new Uint8Array(expected.length)
    await again.read(into, 0)
    expect(Buffer.compare(into, expected)).toBe(0)
  })

  test('a missing file is opened only to create it', async () => {
    const error = await disk.open(`${directory}/missing`, { create: false }).catch((failure: unknown) => failure)
    expect(isFailure(error, 'DISK_FAILED')).toBe(true)
    expect(await disk.stat(`${directory}/missing`)).toBeUndefined()
    await file('missing')
    expect((await disk.stat(`${directory}/missing`))?.sizeBytes).toBe(0)
  })

  test('room is made beforehand, reads as zeros, and is never cut', async () => {
    const a = await file('a', { create: true, sizeBytes: 8192 })
    expect((await disk.stat(`${directory}/a`))?.sizeBytes).toBe(8192)
    expect(await read(a, 8190, 10)).toEqual([0, 0])
    await a.write([bytes(7)], 8191)
    await a.allocate(100)
    await a.allocate(10_000)
    expect((await disk.stat(`${directory}/a`))?.sizeBytes).toBe(10_000)
    expect(await read(a, 8191, 1)).toEqual([7])
  })

  test('opening a file again keeps its content', async () => {
    const a = await file()
    await a.write([bytes(1)], 0)
    expect(await read(await file('a', { create: true }), 0, 1)).toEqual([1])
  })

  test('the identity of an open file is that of its path until the path is made anew', async () => {
    const a = await file()
    expect((await disk.stat(`${directory}/a`))?.identity).toBe(a.identity)
    await disk.remove(`${directory}/a`)
    expect(await disk.stat(`${directory}/a`)).toBeUndefined()
    const again = await file()
    expect((await disk.stat(`${directory}/a`))?.identity).toBe(again.identity)
    expect(again.identity).not.toBe(a.identity)
    // The old one can still be read and synced, and that reaches nobody.
    await a.write([bytes(9)], 0)
    await a.sync()
    expect(await read(again, 0, 1)).toEqual([])
  })

  test('rename replaces, list names, remove takes whole directories and misses nothing quietly', async () => {
    const a = await file('a')
    await a.write([bytes(1)], 0)
    await file('b')
    await disk.rename(`${directory}/a`, `${directory}/b`)
    expect(await disk.list(directory)).toEqual(['b'])
    expect((await disk.stat(`${directory}/b`))?.identity).toBe(a.identity)
    await disk.makeDirectory(`${directory}/deep/er`)
    await file('deep/er/c')
    await disk.remove(`${directory}/deep`)
    expect(await disk.stat(`${directory}/deep/er/c`)).toBeUndefined()
    await disk.remove(`${directory}/never`)
    expect(await disk.list(`${directory}/never`)).toEqual([])
  })

  test('syncs of files and directories succeed, and free space is a number of bytes', async () => {
    const a = await file()
    await a.write([bytes(1)], 0)
    await a.sync()
    await disk.syncDirectory(directory)
    expect(await disk.free(directory)).toBeGreaterThan(0)
  })

  test('an unknown directory cannot be synced', async () => {
    await expect(disk.syncDirectory(`${directory}/never`)).rejects.toMatchObject({ code: 'DISK_FAILED' })
  })
}
