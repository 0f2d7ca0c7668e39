import { mkdir, mkdtemp, open, readFile, readdir, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { capLogs } from './logCap.ts'

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'weightless-cap-'))
})
afterEach(async () => {
  await rm(folder, { recursive: true, force: true })
})

test('a log over its cap is moved aside once and its writer goes on in the same file', async () => {
  const path = join(folder, 'node-0.log')
  await writeFile(join(folder, 'gateway.log'), 'small\n')
  await using writer = await open(path, 'a')
  await writer.write('x'.repeat(100))
  expect(await capLogs(folder, { bytesMax: 100 })).toEqual([])
  await writer.write('y')
  expect(await capLogs(folder, { bytesMax: 100 })).toEqual(['node-0.log'])
  await writer.write('after\n')
  expect(await readFile(path, 'utf8')).toBe('after\n')
  expect(await readFile(`${path}.1`, 'utf8')).toBe(`${'x'.repeat(100)}y`)
  await writer.write('z'.repeat(100))
  await capLogs(folder, { bytesMax: 100 })
  expect((await readdir(folder)).sort()).toEqual(['gateway.log', 'node-0.log', 'node-0.log.1'])
  expect(await readFile(`${path}.1`, 'utf8')).toBe(`after\n${'z'.repeat(100)}`)
})

test('however much a log has grown, of every role, its copy stays small and ends as the log did', async () => {
  for (const role of ['up', 'chain', 'gateway', 'node-0']) {
    const path = join(folder, `${role}.log`)
    // Sparse: a gigabyte that takes no room here.
    await writeFile(path, '')
    await truncate(path, 1024 ** 3)
    await using log = await open(path, 'a')
    await log.write(`the last line of ${role}\n`)
  }
  expect([...(await capLogs(folder, { bytesMax: 1000 }))].sort()).toEqual([
    'chain.log',
    'gateway.log',
    'node-0.log',
    'up.log',
  ])
  for (const role of ['up', 'chain', 'gateway', 'node-0']) {
    expect((await stat(join(folder, `${role}.log`))).size).toBe(0)
    const copy = join(folder, `${role}.log.1`)
    expect((await stat(copy)).size).toBeLessThanOrEqual(3000)
    expect(await readFile(copy, 'utf8')).toMatch(new RegExp(`the last line of ${role}\\n$`))
  }
  expect((await readdir(folder)).filter((name) => name.endsWith('.part'))).toEqual([])
})

test('a log is cut also when it cannot be copied, as on a full disk', async () => {
  await writeFile(join(folder, 'a.log'), 'x'.repeat(2000))
  await writeFile(join(folder, 'b.log'), 'x'.repeat(2000))
  // Nothing takes the name of a directory that is not empty.
  await mkdir(join(folder, 'a.log.1', 'inside'), { recursive: true })
  expect([...(await capLogs(folder, { bytesMax: 1000 }))].sort()).toEqual(['a.log', 'b.log'])
  expect((await stat(join(folder, 'a.log'))).size).toBe(0)
  expect((await stat(join(folder, 'b.log.1'))).size).toBeGreaterThan(1000)
})

test('a folder that is not there has no logs to cap', async () => {
  expect(await capLogs(join(folder, 'none'), { bytesMax: 1 })).toEqual([])
})
