import { describe, expect, test } from 'vitest'
import { failureOf, reasonOf } from '../../../sim/fakes/outcome.ts'
import { readBounded } from './readBounded.ts'

const bytes = (count: number) => new Uint8Array(count).fill(7)

describe('a body', () => {
  test('within the limit comes back, with and without a declared length', async () => {
    const declared = new Response(bytes(10), { headers: { 'content-length': '10' } })
    expect(await readBounded(declared, 10, {})).toEqual(bytes(10))
    expect(await readBounded(new Response(bytes(10)), 10, {})).toEqual(bytes(10))
    expect(await readBounded(new Response(null, { status: 204 }), 10, {})).toEqual(new Uint8Array(0))
    expect(await readBounded(new Request('http://x/', { method: 'POST', body: bytes(3) }), 3, {})).toEqual(bytes(3))
  })

  test('that declares more than the limit is not read at all', async () => {
    const watched = pulled()
    const error = await failureOf(
      readBounded(new Response(watched.stream, { headers: { 'content-length': '11' } }), 10, {}),
    )
    expect(error).toMatchObject({ code: 'BODY_TOO_LARGE', facts: { sizeBytes: 11, sizeBytesMax: 10 } })
    expect(watched.isCancelled()).toBe(true)
  })

  test('without an end is read up to the limit and cancelled', async () => {
    const watched = pulled()
    expect(await failureOf(readBounded(new Response(watched.stream), 10_000, {}))).toMatchObject({
      code: 'BODY_TOO_LARGE',
    })
    expect(watched.count()).toBeLessThan(15)
    expect(watched.isCancelled()).toBe(true)
  })

  test('that is compressed is measured by what comes out, not by what it declares', async () => {
    const watched = pulled()
    const response = new Response(watched.stream, { headers: { 'content-length': '5', 'content-encoding': 'gzip' } })
    expect(await failureOf(readBounded(response, 10_000, {}))).toMatchObject({ code: 'BODY_TOO_LARGE' })
  })

  test('that hangs is left when the signal aborts, and cancelled', async () => {
    let isCancelled = false
    const stream = new ReadableStream<Uint8Array>({
      pull: () => new Promise(() => undefined),
      cancel: () => void (isCancelled = true),
    })
    const controller = new AbortController()
    const caught = reasonOf(readBounded(new Response(stream), 10, { signal: controller.signal }))
    controller.abort('stop')
    expect(await caught).toBe('stop')
    expect(isCancelled).toBe(true)
  })
})

function pulled() {
  let count = 0
  let isCancelled = false
  const stream = new ReadableStream<Uint8Array>({
    pull: (controller) => {
      count += 1
      controller.enqueue(bytes(1_000))
    },
    cancel: () => void (isCancelled = true),
  })
  return { stream, count: () => count, isCancelled: () => isCancelled }
}
