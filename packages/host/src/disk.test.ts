import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { nodeDisk } from './disk.ts'

// What every Disk must do is in sim/compliance/disk.ts; here is what only a real one has.

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'weightless-disk-'))
})
afterEach(() => rm(directory, { recursive: true }))

test('files are 600 and directories 700: what we store is nobody else’s to read', async () => {
  const disk = nodeDisk()
  await disk.makeDirectory(`${directory}/a/b`)
  const file = await disk.open(`${directory}/a/b/c`, { create: true })
  await file.close()
  const modes = await Promise.all(
    ['a', 'a/b', 'a/b/c'].map(async (name) => ((await stat(join(directory, name))).mode & 0o777).toString(8)),
  )
  expect(modes).toEqual(['700', '700', '600'])
})

test.runIf(existsSync('/dev/full'))('a device without room is DISK_FULL', async () => {
  const file = await nodeDisk().open('/dev/full', { create: false })
  await expect(file.write([new Uint8Array(10)], 0)).rejects.toMatchObject({
    code: 'DISK_FULL',
    facts: { reason: 'ENOSPC' },
  })
  await file.close()
})

test('everything else is DISK_FAILED with the reason of the system', async () => {
  const disk = nodeDisk()
  await writeFile(join(directory, 'plain'), 'x')
  await expect(disk.open(`${directory}/missing`, { create: false })).rejects.toMatchObject({
    code: 'DISK_FAILED',
    facts: { reason: 'ENOENT' },
  })
  await expect(disk.makeDirectory(`${directory}/plain/below`)).rejects.toMatchObject({
    code: 'DISK_FAILED',
    facts: { reason: 'ENOTDIR' },
  })
  const file = await disk.open(`${directory}/plain`, { create: false })
  await file.close()
  await expect(file.sync()).rejects.toMatchObject({ code: 'DISK_FAILED' })
})
