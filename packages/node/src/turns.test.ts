import { expect, test } from 'vitest'
import { createTurns } from './turns.ts'

test('work on one thing waits for its turn, work on another does not, and a failure holds up nobody', async () => {
  const inTurn = createTurns<string>()
  const told: string[] = []
  let open: () => void = () => undefined
  const gate = new Promise<void>((resolve) => (open = resolve))
  const first = inTurn('a', async () => {
    await gate
    told.push('a1')
    throw new Error('no')
  })
  const second = inTurn('a', async () => void told.push('a2'))
  await inTurn('b', async () => void told.push('b'))
  expect(told).toEqual(['b'])
  open()
  await expect(first).rejects.toThrow('no')
  await second
  expect(told).toEqual(['b', 'a1', 'a2'])
  expect(await inTurn('a', async () => 7)).toBe(7)
})
