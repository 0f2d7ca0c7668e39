import { Readable, Writable } from 'node:stream'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createPrinter } from './print.ts'
import { run } from './program.ts'

const root = `0x${'00'.repeat(32)}`
let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'weightless-program-'))
})
afterEach(async () => {
  await rm(folder, { recursive: true, force: true })
})

async function command(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  const out: string[] = []
  const err: string[] = []
  const sinks = { out: (text: string) => out.push(text), err: (text: string) => err.push(text) }
  const nowhere = (): Writable => new Writable({ write: (_chunk, _encoding, done) => done() })
  const code = await run(
    argv,
    {
      stdin: Readable.from([]),
      stdout: nowhere(),
      stderr: nowhere(),
      signal: new AbortController().signal,
      entry: 'none',
      cwd: folder,
    },
    (options) => createPrinter(options, sinks),
  )
  return { code, out: out.join('\n'), err: err.join('\n') }
}

describe('the command line', () => {
  test.each([
    [],
    ['nonsense'],
    ['up', '--nonsense'],
    ['up', '--nodes', 'many'],
    ['up', '--grace', '1'],
    ['up', '--port-base', '1'],
    ['up', 'extra'],
    ['put'],
    ['put', 'a', 'b'],
    ['put', 'a', '--until', 'sometime'],
    ['get'],
    ['get', 'not-a-root'],
    ['get', root, '--range', '5-1'],
    ['info', `${root},${root}`],
    ['node'],
    ['node', 'nonsense'],
    ['node', 'stop'],
    ['node', 'run'],
    ['logs', '-f', '--json'],
    ['bench', 'nonsense'],
    ['put', 'file', '--code', '4+2', '--losses', 'all'],
    ['up', '--code', '4-2'],
  ])('%j is a usage error', async (...argv) => {
    const { code, out, err } = await command(...argv)
    expect(code).toBe(2)
    expect(err === '' ? out : err).toContain('USAGE')
  })

  test.each([
    ['up', '--code', '60+60'],
    ['up', '--code', '4+2', '--nodes', '3'],
    ['up', '--code', '4+2', '--nodes', '3', '--detach'],
  ])('%j is a usage error that leaves nothing behind', async (...argv) => {
    const { code, err } = await command(...argv)
    expect(code).toBe(2)
    expect(err).toContain('USAGE')
    expect(await readdir(folder)).toEqual([])
  })

  test.each([
    ['tour'],
    ['kv', 'put', 'stream', 'key', '--value', 'x'],
    ['da', 'status'],
    ['models'],
    ['chat', '--model', 'any', 'hello'],
  ])('%j is refused with the next step until it is built', async (...argv) => {
    const { code, err } = await command(...argv)
    expect(code).toBe(2)
    expect(err).toContain('NOT_BUILT')
    expect(err).toContain('next:')
    expect(await readdir(folder)).toEqual([])
  })

  test('a usage error with --json is one JSON document on stdout', async () => {
    const { code, out, err } = await command('--json', 'nonsense')
    expect(code).toBe(2)
    expect(JSON.parse(out)).toMatchObject({ error: { code: 'USAGE', next: expect.any(String) } })
    expect(err).toBe('')
  })

  test.each([
    ['status'],
    ['put', 'file'],
    ['get', root, '-o', 'x'],
    ['ls'],
    ['info', root],
    ['logs'],
    ['node', 'stop', 'node-0'],
    ['node', 'add'],
  ])('%j without a running network fails and says how to start one', async (...argv) => {
    const { code, out } = await command(...argv, '--json')
    expect(code).toBe(1)
    expect(JSON.parse(out)).toMatchObject({
      error: { code: 'NETWORK_DOWN', next: expect.stringContaining('weightless up') },
    })
    expect(await readdir(folder)).toEqual([])
  })

  test('doctor with nothing running says so, makes nothing, and succeeds', async () => {
    const { code, out } = await command('doctor', '--json')
    const { findings, verdict } = JSON.parse(out) as { verdict: string; findings: { check: string; level: string }[] }
    expect({ code, verdict }).toEqual({ code: 0, verdict: 'well' })
    expect(findings.map(({ check }) => check)).toEqual(['node', 'directory', 'network'])
    expect(await readdir(folder)).toEqual([])
    const { out: text } = await command('doctor')
    expect(text).toContain('Nothing is running here')
  })

  test('doctor in a directory of other files fails and says what to do', async () => {
    await mkdir(join(folder, '.weightless'))
    await writeFile(join(folder, '.weightless', 'mine.txt'), 'mine')
    const { code, out } = await command('doctor')
    expect(code).toBe(1)
    expect(out).toMatch(/FAIL {2}directory[^\n]+\n {6}next: /)
  })

  test('down without a running network has nothing to do', async () => {
    const { code, out } = await command('down', '--json')
    expect(code).toBe(0)
    expect(JSON.parse(out)).toMatchObject({ stopped: false })
  })

  test.each([
    ['--help'],
    ['up', '--help'],
    ['node', '--help'],
    ['node', 'add', '--help'],
    ['put', '-h'],
    ['get', '--help'],
    ['kv', '--help'],
    ['--version'],
  ])('%j explains itself and succeeds', async (...argv) => {
    expect((await command(...argv)).code).toBe(0)
  })
})
