import { mkdtempSync, openAsBlob, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { content } from '../../../sim/fakes/network.ts'
import { failureOf, reasonOf, turns } from '../../../sim/fakes/outcome.ts'
import { fillFrom, openSource, type ReadAt, type Source } from './source.ts'
import { createMemorySpool, type Spool } from './spool.ts'

const spool = createMemorySpool()
const bytes = content(300_000, 1)
const chunks = function* (): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 70_001) yield bytes.slice(at, at + 70_001)
}
async function* iterable(): AsyncGenerator<Uint8Array> {
  yield* chunks()
}

describe('every kind of source gives the same bytes, twice', () => {
  const sources: [string, () => Source][] = [
    ['bytes', () => bytes],
    ['a Blob', () => new Blob([bytes as Uint8Array<ArrayBuffer>])],
    ['a small Blob', () => new Blob([bytes.slice(0, 300)])],
    ['a ReadableStream', () => new Blob([bytes as Uint8Array<ArrayBuffer>]).stream()],
    ['an AsyncIterable', () => iterable()],
    ['random access', () => ({ sizeBytes: bytes.length, read: async (start, end) => bytes.slice(start, end) })],
  ]
  test.each(sources)('%s', async (_, make) => {
    const source = await openSource(make(), { spool }, {})
    const expected = bytes.subarray(0, source.sizeBytes)
    for (let reading = 0; reading < 2; reading++) {
      expect(Buffer.from(await source.read(0, source.sizeBytes, {})).equals(Buffer.from(expected))).toBe(true)
      expect(Buffer.from(await source.read(100, 290, {})).equals(Buffer.from(expected.subarray(100, 290)))).toBe(true)
    }
    await source.dispose()
  })

  test('a file, in place', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'weightless-source-'))
    try {
      writeFileSync(join(directory, 'file'), bytes)
      const source = await openSource(await openAsBlob(join(directory, 'file')), { spool }, {})
      expect(Buffer.from(await source.read(0, bytes.length, {})).equals(Buffer.from(bytes))).toBe(true)
      writeFileSync(join(directory, 'file'), content(1_000, 2))
      expect(await failureOf(source.read(0, bytes.length, {}))).toMatchObject({ code: 'SOURCE_CHANGED' })
    } finally {
      rmSync(directory, { recursive: true })
    }
  })

  test('and fills the same parts, whether it can read into them or not', async () => {
    const readable: ReadAt = { sizeBytes: bytes.length, read: async (start, end) => bytes.slice(start, end) }
    const fillable: ReadAt = {
      ...readable,
      read: async () => new Uint8Array(0),
      readInto: async (parts, start) => {
        let at = start
        for (const part of parts) {
          part.set(bytes.subarray(at, at + part.length))
          at += part.length
        }
        return Math.min(at, bytes.length) - start
      },
    }
    for (const given of [readable, fillable]) {
      const source = await openSource(given, { spool }, {})
      const parts = [new Uint8Array(10), new Uint8Array(0), new Uint8Array(200_000)]
      await fillFrom(source, parts, 77, {})
      expect(Buffer.concat(parts).equals(Buffer.from(bytes.subarray(77, 77 + 200_010)))).toBe(true)
      const beyond = fillFrom(source, [new Uint8Array(20)], bytes.length - 10, {})
      expect(await failureOf(beyond)).toMatchObject({ code: 'SOURCE_CHANGED', facts: { sizeBytesRead: 10 } })
    }
  })

  test('what its own way of hashing throws is told like a failed reading', async () => {
    const read = async (start: number, end: number) => bytes.slice(start, end)
    const segmentRoots = async () => Promise.reject(new Error('no such device'))
    const source = await openSource({ sizeBytes: bytes.length, read, segmentRoots }, { spool }, {})
    const range = { start: 0, end: bytes.length, lastLeafCount: 148 }
    expect(await failureOf(source.segmentRoots!(range, {}))).toMatchObject({ code: 'SOURCE_UNREADABLE' })
    const signal = AbortSignal.abort('no')
    expect(await reasonOf(source.segmentRoots!(range, { signal }))).toBe('no')
  })

  test('bytes are used in place, not copied', async () => {
    const source = await openSource(bytes, { spool }, {})
    expect((await source.read(0, 10, {})).buffer).toBe(bytes.buffer)
  })
})

describe('what cannot be stored', () => {
  test.each<[string, () => Source]>([
    ['no bytes', () => new Uint8Array(0)],
    ['an empty Blob', () => new Blob([])],
    ['an empty stream', () => new Blob([]).stream()],
    ['random access to nothing', () => ({ sizeBytes: 0, read: async () => new Uint8Array(0) })],
  ])('%s', async (_, make) => {
    expect(await failureOf(openSource(make(), { spool }, {}))).toMatchObject({ code: 'FILE_EMPTY' })
  })

  test('more than the entry limit, before a byte is read', async () => {
    const read = async (): Promise<never> => Promise.reject(new Error('it was read'))
    expect(await failureOf(openSource({ sizeBytes: 65 * 1024 ** 3, read }, { spool }, {}))).toMatchObject({
      code: 'SIZE_INVALID',
    })
  })

  test.each<[string, unknown]>([
    ['a string', 'hello'],
    ['a number', 7],
    ['null', null],
    ['an array', [1, 2]],
    ['a path', { path: '/etc/passwd' }],
    [
      'an iterable of strings',
      (async function* () {
        yield 'text'
      })(),
    ],
  ])('%s', async (_, source) => {
    expect(await failureOf(openSource(source as Source, { spool }, {}))).toMatchObject({
      code: 'SOURCE_INVALID',
      blame: 'caller',
    })
  })

  test('a producer that fails is told apart from a library that fails', async () => {
    const broken = (async function* () {
      yield bytes
      throw new Error('disk on fire')
    })()
    const error = await failureOf(openSource(broken, { spool }, {}))
    expect(error).toMatchObject({
      code: 'SOURCE_UNREADABLE',
      facts: { sizeBytesRead: 300_000 },
      cause: { message: 'disk on fire' },
    })
  })
})

describe('one-shot sources', () => {
  test('beyond the memory spool end in an error that names the option', async () => {
    const small = createMemorySpool({ sizeBytesMax: 100_000 })
    expect(await failureOf(openSource(iterable(), { spool: small }, {}))).toMatchObject({
      code: 'SPOOL_FULL',
      facts: { sizeBytesMax: 100_000, option: 'spool' },
    })
  })

  test('give their spool back: after use, after an error, after an abort', async () => {
    const watched = watching()
    const used = await openSource(iterable(), { spool: watched.spool }, {})
    expect(watched.open()).toBe(1)
    await used.dispose()
    expect(watched.open()).toBe(0)
    await reasonOf(
      openSource(
        (async function* () {
          yield bytes
          throw new Error('x')
        })(),
        { spool: watched.spool },
        {},
      ),
    )
    expect(watched.open()).toBe(0)
    await reasonOf(openSource(new Blob([]).stream(), { spool: watched.spool }, {}))
    expect(watched.open()).toBe(0)
  })

  test('that hang are left at an abort, and cancelled', async () => {
    const watched = watching()
    let isCancelled = false
    const stream = new ReadableStream<Uint8Array>({
      pull: () => new Promise(() => undefined),
      cancel: () => void (isCancelled = true),
    })
    const controller = new AbortController()
    const caught = reasonOf(openSource(stream, { spool: watched.spool }, { signal: controller.signal }))
    await turns(2)
    controller.abort('stop')
    expect(await caught).toBe('stop')
    await turns(2)
    expect([isCancelled, watched.open()]).toEqual([true, 0])
  })

  test('may reuse their buffer', async () => {
    const reused = new Uint8Array(1_000)
    const source = await openSource(
      (async function* () {
        for (let i = 1; i <= 3; i++) yield reused.fill(i)
      })(),
      { spool },
      {},
    )
    expect((await source.read(0, 3_000, {})).filter((_, i) => i % 1_000 === 0)).toEqual(Uint8Array.of(1, 2, 3))
  })
})

function watching(): { readonly spool: Spool; readonly open: () => number } {
  let open = 0
  return {
    open: () => open,
    spool: {
      create: async (options) => {
        const file = await spool.create(options)
        open += 1
        return {
          get sizeBytes() {
            return file.sizeBytes
          },
          append: file.append,
          read: file.read,
          dispose: async () => {
            open -= 1
            await file.dispose()
          },
        }
      },
    },
  }
}
