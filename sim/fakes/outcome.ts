import { isFailure, type Failure } from '@weightless/core'

/** The failure that `work` ends with; anything else is thrown on. */
export async function failureOf(work: Promise<unknown>): Promise<Failure> {
  const error = await reasonOf(work)
  if (isFailure(error)) return error
  throw error ?? new Error('nothing was thrown')
}

/** Whatever `work` rejects with; `undefined` when it resolves. */
export function reasonOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => undefined,
    (error: unknown) => error,
  )
}

/** Turns of the event loop. */
export async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((next) => setImmediate(next))
}

const TURNS_MAX = 5_000

/** Goes on turning until the condition holds; throws when it never does. */
export async function turnsUntil(condition: () => boolean): Promise<void> {
  for (let i = 0; i < TURNS_MAX && !condition(); i++) await turns(1)
  if (!condition()) throw new Error('the condition never held')
}
