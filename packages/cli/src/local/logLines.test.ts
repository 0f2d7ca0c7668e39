import { appendFile, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createFollower, renderLine, tailLines, timeOfLine } from './logLines.ts'

let folder = ''
let path = ''
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'weightless-logs-'))
  path = join(folder, 'role.log')
})
afterEach(async () => {
  await rm(folder, { recursive: true, force: true })
})

describe('logs', () => {
  test('the tail is the last whole lines, and following goes on right behind them', async () => {
    await writeFile(path, 'one\ntwo\nthré\nhalf')
    const { lines, position } = await tailLines(path, 2)
    expect(lines).toEqual(['two', 'thré'])
    const follower = createFollower(path, position)
    expect(await follower.next()).toEqual([])
    await appendFile(path, ' a line\nfive\n')
    expect(await follower.next()).toEqual(['half a line', 'five'])
    expect(await follower.next()).toEqual([])
  })

  test('a line whose values are nested by the thousand is shown without them', () => {
    const deep = `${'['.repeat(50_000)}${']'.repeat(50_000)}`
    expect(renderLine(`{"event":"x.happened","level":${deep},"value":${deep},"other":1}`)).toMatch(
      /… +x\.happened value=… other=1$/,
    )
  })

  test('a log that was rotated away is followed from its new start', async () => {
    await writeFile(path, 'old\n')
    const follower = createFollower(path, (await tailLines(path, 0)).position)
    expect(await follower.next()).toEqual([])
    await rename(path, `${path}.1`)
    await writeFile(path, 'a new and longer line\n')
    expect(await follower.next()).toEqual(['a new and longer line'])
  })

  test('a log that is not there yet has no lines and is followed once it appears', async () => {
    expect(await tailLines(path, 5)).toEqual({ lines: [], position: 0 })
    const follower = createFollower(path, 0)
    expect(await follower.next()).toEqual([])
    await writeFile(path, 'first\n')
    expect(await follower.next()).toEqual(['first'])
  })

  test('a line longer than one read step arrives whole up to its limit', async () => {
    await writeFile(path, `${'x'.repeat(200_000)}\nend\n`)
    const lines = await createFollower(path, 0).next()
    expect(lines.map((line) => line.length)).toEqual([16 * 1024 + 1, 3])
  })

  test('JSON events are rendered for people and other lines are left alone', () => {
    const line =
      '{"level":"info","time":"2023-11-14T22:13:20.000Z","event":"segment.stored","root":"0xab","sizeBytes":5}'
    expect(renderLine(line)).toBe('22:13:20.000 info  segment.stored root=0xab sizeBytes=5')
    expect(renderLine('listening on 8545')).toBe('listening on 8545')
    expect(renderLine('5')).toBe('5')
    expect(timeOfLine(line)).toBe(1_700_000_000_000)
    expect(timeOfLine('listening')).toBeUndefined()
  })
})
