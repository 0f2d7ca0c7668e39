import { mkdtemp, readFile, rm, stat, truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createFail } from '@weightless/core'
import { createLogger } from './log.ts'

let directory: string
let file: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'weightless-log-'))
  file = join(directory, 'role.log')
})
afterEach(() => rm(directory, { recursive: true, force: true }))

async function lines(): Promise<Record<string, unknown>[]> {
  return (await readFile(file, 'utf8'))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
}

test('a line is JSON: level, time, event and flat fields', async () => {
  const logger = createLogger({ level: 'info', file })
  logger.info('segment.stored', { root: '0x12', index: 3, sizeBytes: 10n, data: Uint8Array.of(1, 2) })
  logger.debug('not.written')
  logger.child({ role: 'storage' }).warn('disk.slow')
  const [first, second, ...rest] = await lines()
  expect(first).toMatchObject({
    level: 'info',
    event: 'segment.stored',
    root: '0x12',
    index: 3,
    sizeBytes: '10',
    data: '0x0102',
  })
  expect(new Date(first!['time'] as string).getTime()).toBeGreaterThan(0)
  expect(second).toMatchObject({ level: 'warn', event: 'disk.slow', role: 'storage' })
  expect(rest).toEqual([])
  expect(((await stat(file)).mode & 0o777).toString(8)).toBe('600')
})

test('values under names of secrets never reach the file, however deep', async () => {
  const logger = createLogger({ level: 'debug', file, fields: { token: 'hidden-0' } })
  const secrets = {
    privateKey: 'hidden-1',
    private_key: 'hidden-2',
    secret: 'hidden-3',
    Token: 'hidden-4',
    mnemonic: 'hidden-5',
    apiKey: 'hidden-6',
    authorization: 'hidden-7',
  }
  logger.info('a.happened', secrets)
  logger.info('b.happened', { outer: { list: [secrets], deeper: { still: { on: { privateKey: 'hidden-8' } } } } })
  logger.child(secrets).info('c.happened')
  expect(await readFile(file, 'utf8')).not.toContain('hidden-')
})

test('errors become their facts: code and causes, or name, message and stack', async () => {
  const fail = createFail({ PORT_TAKEN: { retryable: false, blame: 'caller', next: 'x' } })
  const logger = createLogger({ level: 'info', file })
  logger.error('start.failed', { error: fail('PORT_TAKEN', { port: 8600 }, { cause: new Error('EADDRINUSE') }) })
  const [line] = await lines()
  expect(line!['error']).toMatchObject({
    code: 'PORT_TAKEN',
    port: 8600,
    cause: { name: 'Error', message: 'EADDRINUSE' },
  })
})

test('long texts, long lists and circles are cut', async () => {
  const circle: Record<string, unknown> = {}
  circle['self'] = circle
  const logger = createLogger({ level: 'info', file })
  logger.info('a.happened', { circle, text: 'x'.repeat(100_000), list: Array.from({ length: 10_000 }, (_, i) => i) })
  expect((await readFile(file, 'utf8')).length).toBeLessThan(10_000)
})

test('a log whose directory was deleted, or that somebody else has cut, goes on and stays bounded', async () => {
  const logger = createLogger({ level: 'info', file, fileBytesMax: 2_000 })
  for (let i = 0; i < 20; i++) logger.info('tick.passed', { i })
  await truncate(file)
  for (let i = 20; i < 40; i++) logger.info('tick.passed', { i })
  // Cut by somebody else, it is not full: nothing is moved aside before it is.
  await expect(stat(`${file}.1`)).rejects.toThrow('ENOENT')
  await rm(dirname(file), { recursive: true })
  expect(() => {
    for (let i = 0; i < 100; i++) logger.info('tick.passed', { i })
  }).not.toThrow()
})

test('a full file is moved aside, and one such is kept', async () => {
  const logger = createLogger({ level: 'info', file, fileBytesMax: 2_000 })
  for (let i = 0; i < 100; i++) logger.info('tick.passed', { i })
  expect((await stat(file)).size).toBeLessThanOrEqual(2_000)
  expect((await stat(`${file}.1`)).size).toBeLessThanOrEqual(2_000)
  expect((await lines()).at(-1)).toMatchObject({ i: 99 })
  // What was there before is kept when it is opened again.
  createLogger({ level: 'info', file, fileBytesMax: 1_000_000 }).info('again.opened')
  expect((await lines()).at(-1)).toMatchObject({ event: 'again.opened' })
})
