import { mkdtemp, open, readFile, readdir, rm, writeFile } from 'node:fs/promises'
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

test('a folder that is not there has no logs to cap', async () => {
  expect(await capLogs(join(folder, 'none'), { bytesMax: 1 })).toEqual([])
})
