/** Time that passes only when nothing is left to do: what waits is woken in order, each waiter in a turn of its own. */
export type VirtualTime = {
  /** Milliseconds since the world began. */
  nowMs(): number
  /** Calls `wake` in `delayMs`; returns the function that calls it off. */
  after(delayMs: number, wake: () => void): () => void
  /** Lets time pass until `isOver` or until `limitMs` from now have passed, whichever comes first: tells whether `isOver`. */
  run(isOver: () => boolean, limitMs: number): Promise<boolean>
}

type Waiter = { readonly dueMs: number; readonly order: number; wake: (() => void) | undefined }

export function createVirtualTime(): VirtualTime {
  let nowMs = 0
  let order = 0
  const heap: Waiter[] = []

  /** Everything that follows from what has happened so far: promise jobs, and what Node's streams put behind them. */
  const quiet = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

  return {
    nowMs: () => nowMs,
    after(delayMs, wake) {
      const waiter: Waiter = { dueMs: nowMs + Math.max(0, delayMs), order: order++, wake }
      push(heap, waiter)
      return () => (waiter.wake = undefined)
    },
    async run(isOver, limitMs) {
      const endMs = nowMs + limitMs
      for (;;) {
        await quiet()
        if (isOver()) return true
        let next = heap[0]
        while (next !== undefined && next.wake === undefined) {
          pop(heap)
          next = heap[0]
        }
        if (next === undefined || next.dueMs > endMs) {
          nowMs = endMs
          return false
        }
        pop(heap)
        nowMs = next.dueMs
        next.wake!()
      }
    },
  }
}

function comesBefore(a: Waiter, b: Waiter): boolean {
  return a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.order < b.order)
}

function push(heap: Waiter[], waiter: Waiter): void {
  let at = heap.length
  heap.push(waiter)
  while (at > 0) {
    const parent = (at - 1) >> 1
    if (!comesBefore(waiter, heap[parent]!)) break
    heap[at] = heap[parent]!
    at = parent
  }
  heap[at] = waiter
}

function pop(heap: Waiter[]): void {
  const last = heap.pop()!
  if (heap.length === 0) return
  let at = 0
  for (;;) {
    let child = 2 * at + 1
    if (child >= heap.length) break
    if (child + 1 < heap.length && comesBefore(heap[child + 1]!, heap[child]!)) child += 1
    if (!comesBefore(heap[child]!, last)) break
    heap[at] = heap[child]!
    at = child
  }
  heap[at] = last
}
