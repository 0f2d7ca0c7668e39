import type { Clock } from '@weightless/core'

/** Time that passes fifty times as fast as on the wall, or as `speed` says, and can jump: what waits is woken when it is due, never
 *  earlier. Work that a deadline of the product must not cut off on a busy machine wants a slower one. */
export type TestClock = Clock & { jump(ms: number): void }

const SPEED = 50

export function createTestClock(speed = SPEED): TestClock {
  const startMs = performance.now()
  let jumpedMs = 0
  const waiting = new Set<{ readonly dueMs: number; timer: NodeJS.Timeout; readonly wake: () => void }>()
  const nowMs = (): number => 1_700_000_000_000 + jumpedMs + (performance.now() - startMs) * speed

  function later(ms: number, work: () => void): () => void {
    const one = { dueMs: nowMs() + ms, timer: setTimeout(() => one.wake(), ms / speed), wake: () => undefined as void }
    one.wake = () => {
      if (!waiting.delete(one)) return
      clearTimeout(one.timer)
      work()
    }
    waiting.add(one)
    return () => {
      waiting.delete(one)
      clearTimeout(one.timer)
    }
  }

  return clockOf({
    nowMs,
    later,
    jump(ms) {
      jumpedMs += ms
      for (const one of Array.from(waiting)) if (one.dueMs <= nowMs()) one.wake()
    },
  })
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

/** Waits for a condition, a turn of the event loop at a time; fails after enough turns for anything that will ever happen. */
export async function until(condition: () => boolean | Promise<boolean>, what = 'the condition'): Promise<void> {
  const startMs = performance.now()
  while (!(await condition())) {
    if (performance.now() - startMs > 20_000) throw new Error(`never came true: ${what}`)
    await new Promise((next) => setTimeout(next, 1))
  }
}
