import { chmod, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { toHex } from '@weightless/core'
import { createPrivateKey, ensureDirectory, readPrivateKey, writeFileAtomic } from './files.ts'

let directory: string
let file: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'weightless-files-'))
  file = join(directory, 'file')
})
afterEach(() => rm(directory, { recursive: true }))

const modeOf = async (path: string): Promise<string> => ((await stat(path)).mode & 0o777).toString(8)

describe('writeFileAtomic', () => {
  test('replaces the whole file, with the mode asked for, and leaves nothing beside it', async () => {
    await writeFile(file, 'a long old content', { mode: 0o644 })
    await writeFileAtomic(file, 'new')
    expect([await readFile(file, 'utf8'), await modeOf(file)]).toEqual(['new', '600'])
    await writeFileAtomic(file, Uint8Array.of(65), { mode: 0o644 })
    expect([await readFile(file, 'utf8'), await modeOf(file)]).toEqual(['A', '644'])
    expect(await readdir(directory)).toEqual(['file'])
  })

  test('a failure leaves the old file and nothing else', async () => {
    await expect(writeFileAtomic(join(directory, 'missing', 'file'), 'x')).rejects.toThrow()
    await expect(writeFileAtomic(file, 'x', { signal: AbortSignal.abort(new Error('no')) })).rejects.toThrow('no')
    await ensureDirectory(file)
    await expect(writeFileAtomic(file, 'x')).rejects.toThrow()
    expect(await readdir(directory)).toEqual(['file'])
  })
})

describe('ensureDirectory', () => {
  test('makes what is missing for this user only and leaves alone what is there', async () => {
    await ensureDirectory(join(directory, 'a', 'b'))
    expect([await modeOf(join(directory, 'a')), await modeOf(join(directory, 'a', 'b'))]).toEqual(['700', '700'])
    await chmod(join(directory, 'a'), 0o755)
    await ensureDirectory(join(directory, 'a'))
    expect(await modeOf(join(directory, 'a'))).toBe('755')
  })

  test('a file in the way is DIRECTORY_FAILED', async () => {
    await writeFile(file, '')
    await expect(ensureDirectory(join(file, 'below'))).rejects.toMatchObject({ code: 'DIRECTORY_FAILED' })
  })
})

describe('private keys', () => {
  test('a new one is in a file of mode 600 and is read back', async () => {
    const path = join(directory, 'keys', 'node.key')
    const key = await createPrivateKey(path)
    expect(key.length).toBe(32)
    expect(await readPrivateKey(path)).toEqual(key)
    expect(await modeOf(path)).toBe('600')
    expect(await readdir(join(directory, 'keys'))).toEqual(['node.key'])
    expect(toHex(await createPrivateKey(join(directory, 'other.key')))).not.toBe(toHex(key))
  })

  test('is never overwritten, and of many at once one makes it', async () => {
    const results = await Promise.allSettled(Array.from({ length: 5 }, () => createPrivateKey(file)))
    expect(results.filter(({ status }) => status === 'fulfilled').length).toBe(1)
    await expect(createPrivateKey(file)).rejects.toMatchObject({ code: 'KEY_FILE_EXISTS' })
    expect(await readPrivateKey(file)).toEqual(
      (results.find(({ status }) => status === 'fulfilled') as PromiseFulfilledResult<Uint8Array>).value,
    )
  })

  test('a file that others can read is refused with the next step', async () => {
    await createPrivateKey(file)
    for (const mode of [0o644, 0o640, 0o606, 0o660]) {
      await chmod(file, mode)
      await expect(readPrivateKey(file)).rejects.toMatchObject({
        code: 'KEY_FILE_OPEN',
        next: expect.stringContaining('chmod 600') as unknown,
      })
    }
    await chmod(file, 0o400)
    await readPrivateKey(file)
  })

  test('hex with or without 0x, in any case, with a line end, is read', async () => {
    const hex = 'Ab'.repeat(32)
    for (const text of [hex, `0x${hex}`, `0x${hex}\n`, `  ${hex}\r\n`]) {
      await writeFile(file, text, { mode: 0o600 })
      expect(toHex(await readPrivateKey(file))).toBe(`0x${hex.toLowerCase()}`)
    }
  })

  test.each([
    ['nothing', ''],
    ['too few digits', 'ab'.repeat(31)],
    ['two keys', `${'ab'.repeat(32)}\n${'ab'.repeat(32)}`],
    ['other letters', 'zz'.repeat(32)],
    ['zero', '00'.repeat(32)],
    ['the order of the group', 'fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141'],
    ['a book', 'ab'.repeat(1000)],
  ])('%s is KEY_FILE_INVALID, and the error says nothing of the content', async (_, text) => {
    await writeFile(file, text, { mode: 0o600 })
    const error = (await readPrivateKey(file).catch((failure: unknown) => failure)) as Error & { code: string }
    expect(error.code).toBe('KEY_FILE_INVALID')
    if (text !== '') expect(JSON.stringify(error) + error.stack).not.toContain(text.slice(0, 32))
  })

  test('no file is KEY_FILE_MISSING, a directory KEY_FILE_INVALID', async () => {
    await expect(readPrivateKey(file)).rejects.toMatchObject({ code: 'KEY_FILE_MISSING' })
    await ensureDirectory(file)
    await expect(readPrivateKey(file)).rejects.toMatchObject({ code: 'KEY_FILE_INVALID' })
  })

  test('a link is judged by the file that it leads to', async () => {
    await createPrivateKey(file)
    await symlink(file, join(directory, 'link'))
    await readPrivateKey(join(directory, 'link'))
    await chmod(file, 0o644)
    await expect(readPrivateKey(join(directory, 'link'))).rejects.toMatchObject({ code: 'KEY_FILE_OPEN' })
  })
})
