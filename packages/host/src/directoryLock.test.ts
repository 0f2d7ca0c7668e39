import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { lockDirectory, type DirectoryLock } from './directoryLock.ts'

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'weightless-lock-'))
})
afterEach(() => rm(directory, { recursive: true }))

const outcome = (work: Promise<DirectoryLock>): Promise<DirectoryLock | { code: string; facts: { pid?: number } }> =>
  work.catch((error: unknown) => error as never)
const isLock = (value: unknown): value is DirectoryLock =>
  typeof value === 'object' && value !== null && 'release' in value

/** The pid of a process that has ended. */
async function deadPid(): Promise<number> {
  const child = spawn(process.execPath, ['-e', ''])
  await once(child, 'exit')
  return child.pid!
}

test('a second one is refused with the pid of the first, until that is released', async () => {
  const first = await lockDirectory(join(directory, 'new'))
  expect(await outcome(lockDirectory(join(directory, 'new')))).toMatchObject({
    code: 'DIRECTORY_IN_USE',
    facts: { pid: process.pid },
  })
  await first.release()
  const second = await lockDirectory(join(directory, 'new'))
  await second.release()
  expect(await readdir(join(directory, 'new'))).toEqual([])
})

test('the lock of a process that is gone is taken over', async () => {
  await writeFile(join(directory, 'lock'), JSON.stringify({ pid: await deadPid(), startedAt: null }))
  await (await lockDirectory(directory)).release()
})

test('the lock of a process whose pid is used again is taken over', async () => {
  await writeFile(join(directory, 'lock'), JSON.stringify({ pid: process.pid, startedAt: 'another-boot:1' }))
  const found = await outcome(lockDirectory(directory))
  // Without /proc the start of a process is not known, and the safe answer is no.
  if (process.platform === 'linux') expect(isLock(found)).toBe(true)
  else expect(found).toMatchObject({ code: 'DIRECTORY_IN_USE' })
})

test.each(['', 'garbage', '{"pid":0}', '{"pid":"1"}', 'null'])(
  'a lock file that says nothing is taken over: %s',
  async (text) => {
    await writeFile(join(directory, 'lock'), text)
    await (await lockDirectory(directory)).release()
  },
)

test('of many that find a stale lock at once, exactly one gets it', async () => {
  for (let round = 0; round < 10; round++) {
    await writeFile(join(directory, 'lock'), JSON.stringify({ pid: await deadPid(), startedAt: null }))
    const all = await Promise.all(Array.from({ length: 8 }, () => outcome(lockDirectory(directory))))
    const locks = all.filter(isLock)
    expect(locks.length).toBe(1)
    for (const lock of locks) await lock.release()
    expect(await readdir(directory)).toEqual([])
  }
})

test('release leaves alone what is not its own', async () => {
  const lock = await lockDirectory(directory)
  await writeFile(join(directory, 'lock'), 'somebody else')
  await lock.release()
  expect(await readFile(join(directory, 'lock'), 'utf8')).toBe('somebody else')
})
