import { expect, test } from 'vitest'
import { reasonOf, turns } from '../../../sim/fakes/outcome.ts'
import { inOrder, mapBounded } from './inOrder.ts'

test('results come in order, whatever order they are ready in', async () => {
  const results = await mapBounded([5, 1, 4, 2, 3], { window: 5 }, async (waits) => (await turns(waits), waits))
  expect(results).toEqual([5, 1, 4, 2, 3])
})

test('no more than the window run at once', async () => {
  let running = 0
  let most = 0
  await mapBounded(Array.from({ length: 20 }), { window: 3 }, async () => {
    most = Math.max(most, ++running)
    await turns(1)
    running -= 1
  })
  expect(most).toBe(3)
})

test('a reader that pauses stops the producers at the window', async () => {
  let started = 0
  const results = inOrder({ count: 100, window: 4 }, async () => ++started)
  await results.next()
  await turns(5)
  expect(started).toBe(5)
  await results.return()
})

test('when one fails, the others are aborted and its error comes out', async () => {
  const signals: AbortSignal[] = []
  const error = await reasonOf(
    mapBounded([0, 1, 2], { window: 3 }, async (i, signal) => {
      signals.push(signal)
      if (i === 1) throw new Error('one')
      await turns(1)
    }),
  )
  expect(error).toMatchObject({ message: 'one' })
  expect(signals.every(({ aborted }) => aborted)).toBe(true)
})

test('leaving the loop aborts what still runs', async () => {
  let last: AbortSignal | undefined
  for await (const _ of inOrder({ count: 9, window: 3 }, async (_, signal) => void (last = signal))) break
  expect(last!.aborted).toBe(true)
})
