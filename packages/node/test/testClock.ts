import type { Clock } from '@weightless/core'

/** Time that passes by turns of the event loop, a millisecond or more of the wall each, and can jump. A busy machine takes longer for
 *  a turn and does no less in it: so what a deadline of the product lets pass does not depend on how busy it is. */
export type TestClock = Clock & { jump(ms: number): void }

/** What passes in a turn: some fifty times as fast as on the wall of an idle machine. */
const MS_PER_TURN = 50

/** `msPerTurn`: for work that takes many turns in a time that a deadline of the product allows. */
export function createTestClock(msPerTurn = MS_PER_TURN): TestClock {
  const waiting = new Set<{ readonly dueMs: number; readonly wake: () => void }>()
  let nowMs = 1_700_000_000_000
  let isTurning = false

  function later(ms: number, work: () => void): () => void {
    const one = { dueMs: nowMs + ms, wake: work }
    waiting.add(one)
    turn()
    return () => void waiting.delete(one)
  }

  function turn(): void {
    if (isTurning || waiting.size === 0) return
    isTurning = true
    setTimeout(() => {
      isTurning = false
      pass(msPerTurn)
      turn()
    }, 1).unref()
  }

  function pass(ms: number): void {
    nowMs += ms
    const due = Array.from(waiting).filter((one) => one.dueMs <= nowMs)
    // What is called off by what is woken before it is not woken.
    for (const one of due.sort((a, b) => a.dueMs - b.dueMs)) if (waiting.delete(one)) one.wake()
  }

  return clockOf({ nowMs: () => nowMs, later, jump: pass })
}

/** `later` does the work after so long, unless it is called off by what it returns. */
export function clockOf({
  nowMs,
  later,
  jump,
}: Pick<TestClock, 'nowMs' | 'jump'> & {
  later(ms: number, work: () => void): () => void
}): TestClock {
  return {
    nowMs,
    jump,
    sleep: (ms, { signal }) =>
      new Promise((resolve, reject) => {
        if (signal?.aborted) {
          reject(signal.reason)
          return
        }
        const stop = (): void => {
          cancel()
          reject(signal!.reason)
        }
        const cancel = later(ms, () => {
          signal?.removeEventListener('abort', stop)
          resolve()
        })
        signal?.addEventListener('abort', stop, { once: true })
      }),
    deadline(ms) {
      // As strict as the platform is.
      if (!Number.isInteger(ms) || ms < 0) throw new RangeError(`a delay of ${ms} ms`)
      const controller = new AbortController()
      later(ms, () => controller.abort(new DOMException('the time is over', 'TimeoutError')))
      return controller.signal
    },
  }
}

/** Some 25 s of an idle machine, more of a busy one. */
const TURNS_MAX = 20_000

/** Waits for a condition, a turn of the event loop at a time; fails after enough turns for anything that will ever happen. */
export async function until(condition: () => boolean | Promise<boolean>, what = 'the condition'): Promise<void> {
  for (let turn = 0; turn < TURNS_MAX; turn += 1) {
    if (await condition()) return
    await new Promise((next) => setTimeout(next, 1))
  }
  throw new Error(`never came true: ${what}`)
}
