import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  checkWhole,
  inspectDirectory,
  layoutOfDirectory,
  prepareDirectory,
  resetDirectory,
  type Layout,
} from './directory.ts'

let top = ''
let layout: Layout
beforeEach(async () => {
  top = await mkdtemp(join(tmpdir(), 'weightless-dir-'))
  layout = layoutOfDirectory(top)
})
afterEach(async () => {
  await rm(top, { recursive: true, force: true })
})

describe('the directory of a network', () => {
  test('is new when it is missing, empty, or holds only traces of a start', async () => {
    expect(await inspectDirectory(join(top, 'missing'), { reset: false })).toBe('new')
    expect(await inspectDirectory(top, { reset: false })).toBe('new')
    await mkdir(layout.logs)
    await writeFile(layout.lock, 'x')
    expect(await inspectDirectory(top, { reset: true })).toBe('new')
  })

  test('is ours once prepared, and closed to other users', async () => {
    await prepareDirectory(layout)
    expect(await inspectDirectory(top, { reset: false })).toBe('ours')
    expect((await stat(join(top, 'keys'))).mode & 0o077).toBe(0)
    expect((await stat(join(top, 'format.json'))).mode & 0o077).toBe(0)
  })

  test.each([{ reset: false }, { reset: true }])("with others' files is never touched, %o", async (options) => {
    await writeFile(join(top, 'thesis.txt'), 'precious')
    await expect(inspectDirectory(top, options)).rejects.toMatchObject({
      code: 'DIRECTORY_FOREIGN',
      facts: { found: 'thesis.txt' },
    })
  })

  test('of a newer weightless is refused with the next step unless its content is given up', async () => {
    await prepareDirectory(layout)
    const path = join(top, 'format.json')
    const format = JSON.parse(await readFile(path, 'utf8')) as { version: number }
    await writeFile(path, JSON.stringify({ ...format, version: format.version + 1 }))
    await expect(inspectDirectory(top, { reset: false })).rejects.toMatchObject({
      code: 'DIRECTORY_TOO_NEW',
      facts: { version: 2, supported: 1 },
    })
    expect(await inspectDirectory(top, { reset: true })).toBe('ours')
  })

  test.each([
    '',
    '{}',
    '{"format":"weightless network"}',
    '{"format":"weightless network","version":"1"}',
    '{"format":"weightless network","version":0}',
    'null',
  ])('whose format file says %j is damaged, and can only be reset', async (text) => {
    await writeFile(join(top, 'format.json'), text)
    await expect(inspectDirectory(top, { reset: false })).rejects.toMatchObject({ code: 'DIRECTORY_DAMAGED' })
    expect(await inspectDirectory(top, { reset: true })).toBe('ours')
  })

  test('whose chain, or whose deployer, is gone is not started: what nodes hold belongs to it', async () => {
    const chainFile = join(layout.chain, 'chain.json')
    await prepareDirectory(layout)
    await checkWhole(layout)
    for (const folder of [layout.chain, layout.node('node-0')]) await mkdir(folder, { recursive: true })
    await Promise.all([chainFile, layout.key('deployer')].map((path) => writeFile(path, 'x')))
    await checkWhole(layout)
    await rm(layout.key('deployer'))
    const incomplete = (missing: string) => ({ code: 'NETWORK_INCOMPLETE', facts: { missing } })
    await expect(checkWhole(layout)).rejects.toMatchObject(incomplete(layout.key('deployer')))
    await rm(chainFile)
    await expect(checkWhole(layout)).rejects.toMatchObject(incomplete(layout.chain))
  })

  test('a reset removes everything but the lock and the log that the running up holds open', async () => {
    await prepareDirectory(layout)
    await mkdir(layout.node('node-0'), { recursive: true })
    for (const path of [
      layout.lock,
      layout.state,
      layout.key('deployer'),
      layout.log('up'),
      layout.log('node-0'),
      join(layout.node('node-0'), 'data'),
    ]) {
      await writeFile(path, 'x')
    }
    await resetDirectory(layout)
    expect((await readdir(top)).sort()).toEqual(['lock', 'logs'])
    expect(await readdir(layout.logs)).toEqual(['up.log'])
    expect((await stat(layout.log('up'))).size).toBe(0)
  })
})
