import { expect, test } from 'vitest'
import { createGate } from './gate.ts'

test('no more than the count run at once, and all get their turn in order', async () => {
  const gate = createGate(2)
  const order: number[] = []
  let running = 0
  let most = 0
  await Promise.all(
    Array.from({ length: 10 }, (_, i) =>
      gate(async () => {
        most = Math.max(most, ++running)
        await new Promise((resolve) => setImmediate(resolve))
        order.push(i)
        running--
      }),
    ),
  )
  expect(most).toBe(2)
  expect(order).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
})

test('work that fails leaves its place', async () => {
  const gate = createGate(1)
  await expect(gate(() => Promise.reject(new Error('no')))).rejects.toThrow('no')
  expect(await gate(async () => 'yes')).toBe('yes')
})

test('work that was given up while it waited is not begun, and the line moves on', async () => {
  const gate = createGate(1)
  let release: () => void = () => undefined
  const first = gate(() => new Promise<void>((resolve) => (release = resolve)))
  const quitter = new AbortController()
  let begun = false
  const second = gate(async () => (begun = true), { signal: quitter.signal })
  const third = gate(async () => 'third')
  quitter.abort(new Error('gave up'))
  release()
  await first
  await expect(second).rejects.toThrow('gave up')
  expect(begun).toBe(false)
  expect(await third).toBe('third')
})
