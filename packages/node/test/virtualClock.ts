import { clockOf, type TestClock } from './testClock.ts'

/** Time that passes only when nothing else is left to do, from one thing that waits to the next: nothing depends on how busy the
 *  machine is. For work without sockets and files, whose answers nobody here can see coming. */
export function createVirtualClock(): TestClock {
  const waiting = new Set<{ readonly dueMs: number; readonly wake: () => void }>()
  let nowMs = 1_700_000_000_000
  let isPassing = false

  function later(ms: number, work: () => void): () => void {
    const one = { dueMs: nowMs + ms, wake: work }
    waiting.add(one)
    void pass()
    return () => void waiting.delete(one)
  }

  async function pass(): Promise<void> {
    if (isPassing) return
    isPassing = true
    while (waiting.size > 0) {
      await idle()
      const [first] = [...waiting].sort((a, b) => a.dueMs - b.dueMs)
      if (first === undefined) break
      nowMs = Math.max(nowMs, first.dueMs)
      waiting.delete(first)
      first.wake()
    }
    isPassing = false
  }

  return clockOf({ nowMs: () => nowMs, later, jump: (ms) => void (nowMs += ms) })
}

/** Promise jobs that follow from what has happened are done, and what Node's streams put behind them. */
function idle(): Promise<void> {
  return new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
}
