import { describe, expect, test } from 'vitest'
import { fail } from './errors.ts'
import { createPrinter, formatBytes, table, toFailure } from './print.ts'

function printed(json: boolean): { out: string[]; err: string[]; printer: ReturnType<typeof createPrinter> } {
  const out: string[] = []
  const err: string[] = []
  return {
    out,
    err,
    printer: createPrinter({ json }, { out: (text) => out.push(text), err: (text) => err.push(text) }),
  }
}

describe('printing', () => {
  test('a result is one JSON document with --json and a text without it', () => {
    const json = printed(true)
    json.printer.note('working')
    json.printer.result({ sizeBytes: 5n }, () => 'five')
    expect(json.out.map((text) => JSON.parse(text) as unknown)).toEqual([{ sizeBytes: '5' }])
    expect(json.err).toEqual(['working'])
    const human = printed(false)
    human.printer.result({ sizeBytes: 5n }, () => 'five')
    expect(human.out).toEqual(['five'])
  })

  test('an error carries code, facts and the next step in both forms', () => {
    const failure = fail('DOWN_FAILED', { pid: 8600 })
    const json = printed(true)
    json.printer.failure(failure)
    expect(JSON.parse(json.out[0]!)).toMatchObject({
      error: { code: 'DOWN_FAILED', facts: { pid: 8600 }, next: failure.next },
    })
    expect(json.err).toEqual([])
    const human = printed(false)
    human.printer.failure(failure)
    expect(human.out).toEqual([])
    expect(human.err[0]).toBe(`error DOWN_FAILED\n  pid: 8600\n  next: ${failure.next}`)
  })

  test('the cause of an error is shown below it', () => {
    const { err, printer } = printed(false)
    printer.failure(
      fail(
        'UP_FAILED',
        { role: 'chain' },
        { cause: fail('ROLE_NOT_READY', { port: 1 }, { cause: new Error('EADDRINUSE') }) },
      ),
    )
    expect(err[0]).toContain('because: ROLE_NOT_READY: port=1')
    expect(err[0]).toContain('because: EADDRINUSE')
  })

  test.each([
    ['ENOSPC', 'NO_ROOM'],
    ['EDQUOT', 'NO_ROOM'],
    ['EACCES', 'FILE_REFUSED'],
    ['EROFS', 'FILE_REFUSED'],
  ])('%s of the file system is %s, not a fault of ours', (code, expected) => {
    const failure = toFailure(Object.assign(new Error(`${code}: write`), { code, path: '/d/state.json' }))
    expect(failure).toMatchObject({ code: expected, facts: { path: '/d/state.json', reason: `${code}: write` } })
  })

  test('what is not ours becomes BUG without a path of this machine', () => {
    const failure = toFailure(new TypeError('x is not a function'))
    expect(failure.code).toBe('BUG')
    expect(failure.facts['reason']).toBe('x is not a function')
    expect(String(failure.facts['at'])).not.toContain('/')
  })

  test('columns line up and sizes are read at a glance', () => {
    expect(
      table([
        ['a', 'bb'],
        ['ccc', 'd'],
      ]),
    ).toBe('a    bb\nccc  d')
    expect([0, 1023, 1024, 1_500_000, 100 * 1024 ** 2, 2 * 1024 ** 3, 1023 * 1024].map(formatBytes)).toEqual([
      '0 B',
      '1023 B',
      '1.00 KiB',
      '1.43 MiB',
      '100 MiB',
      '2.00 GiB',
      '1023 KiB',
    ])
  })
})
