import { expect, test } from 'vitest'
import { isFailure } from '@weightless/core'
import { createVirtualClock } from '../../test/virtualClock.ts'
import { ANSWER_PACE, createGate, type Gate, type Place } from './gate.ts'
import { watchedBody } from './watchedBody.ts'

const never = new AbortController().signal
const gateOf = (bytesMax: number): Gate =>
  createGate({ bytesMax, waitMsMax: 20_000, waitingMax: 100, pace: ANSWER_PACE }, { clock: createVirtualClock() })

async function placeOf(gate: Gate): Promise<Place> {
  const place = await gate.enterWatched(10, { signal: never, movedBytes: () => 0 })
  place.keep()
  return place
}

test.each([1, 2, 3, 1000, 512 * 1024, 512 * 1024 + 1, 3_000_001])(
  '%i bytes arrive whole, the room for them is given back at their end',
  async (sizeBytes) => {
    const gate = gateOf(10)
    const bytes = new Uint8Array(sizeBytes).map((_, i) => i & 255)
    const sent = await new Response(watchedBody([bytes], await placeOf(gate))).arrayBuffer()
    expect(Buffer.from(sent).equals(Buffer.from(bytes))).toBe(true)
    expect(gate.usage().usedBytes).toBe(0)
  },
)

test('a reader that goes away gives the room back', async () => {
  const gate = gateOf(10)
  await watchedBody([new Uint8Array(100)], await placeOf(gate)).cancel()
  expect(gate.usage().usedBytes).toBe(0)
})

test('the memory of its parts is free when the last of them has been taken, and when the reader goes away', async () => {
  let freed = 0
  const parts = [new Uint8Array(3).fill(1), new Uint8Array(600 * 1024).fill(2), new Uint8Array(2).fill(3)]
  const bodyOf = async () => watchedBody(parts, await placeOf(gateOf(10)), () => (freed += 1))
  const reader = (await bodyOf()).getReader()
  const taken: Uint8Array[] = []
  for (;;) {
    const { done, value } = await reader.read()
    if (done) break
    expect(freed).toBe(0)
    taken.push(value)
  }
  expect(Buffer.concat(taken).equals(Buffer.concat(parts))).toBe(true)
  expect(freed).toBe(1)
  const leaving = (await bodyOf()).getReader()
  await leaving.read()
  await leaving.cancel()
  expect(freed).toBe(2)
})

test('a reader that stops loses its place to one that waits, and its stream breaks off', async () => {
  const gate = gateOf(10)
  const reader = watchedBody([new Uint8Array(100)], await placeOf(gate)).getReader()
  await reader.read()
  const next = await placeOf(gate)
  expect(await reader.read().catch((error: unknown) => error)).toSatisfy((error) => isFailure(error, 'CLIENT_TOO_SLOW'))
  expect(gate.usage().usedBytes).toBe(10)
  next.leave()
})

test('a reader that goes on keeps its place, however slowly the bytes came into being', async () => {
  const clock = createVirtualClock()
  const gate = createGate({ bytesMax: 10, waitMsMax: 20_000, waitingMax: 100, pace: ANSWER_PACE }, { clock })
  const place = await placeOf(gate)
  await clock.sleep(10_000, {})
  const waiting = gate.enter(1, { signal: never })
  await clock.sleep(1_000, {})
  const sent = await new Response(watchedBody([new Uint8Array(100)], place)).arrayBuffer()
  expect(sent.byteLength).toBe(100)
  ;(await waiting)()
})
