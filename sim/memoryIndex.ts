import type { Index, IndexChange } from '@weightless/core'
import { createFail, fromHex, toHex } from '@weightless/core'
import type { Chance } from './chance.ts'

/** An ordered map in memory that forgets as lmdb may: a loss of power undoes the transactions that were not flushed, from some
 *  point on; each is kept or undone as a whole. */
export type MemoryIndexStore = {
  /** One process opens it at a time; what an earlier one opened is dead. */
  open(): Index
  losePower(): void
  endProcess(): void
  /** Somebody deleted it. */
  lose(): void
  readonly faults: {
    failingTransactions: number
    /** Transactions that find no room: as on a real disk they change nothing, and the next may succeed. */
    fullTransactions: number
  }
}

const fail = createFail({
  INDEX_FAILED: { retryable: false, blame: 'self', next: 'Check the simulated index.' },
  DISK_FULL: { retryable: true, blame: 'self', next: 'Free space.' },
})

export function createMemoryIndexStore(chance: Chance): MemoryIndexStore {
  let live = new Map<string, Uint8Array>()
  let durable = new Map<string, Uint8Array>()
  let unflushed: (readonly IndexChange[])[] = []
  let epoch = 0
  const faults = { failingTransactions: 0, fullTransactions: 0 }

  const check = (begun: number): void => {
    if (begun !== epoch) throw fail('INDEX_FAILED', { reason: 'the machine stopped' })
  }
  const turns = async (): Promise<void> => {
    for (let left = chance.below(4); left > 0; left--) await Promise.resolve()
  }

  return {
    faults,
    open() {
      const begun = ++epoch
      let queue: Promise<unknown> = Promise.resolve()
      return {
        get(key) {
          check(begun)
          return live.get(toHex(key))?.slice()
        },
        *range({ from, to, limit = Infinity, reverse = false }) {
          check(begun)
          const [first, last] = [toHex(from), toHex(to)]
          const keys = [...live.keys()]
            .filter((key) => compareHex(key, first) >= 0 && compareHex(key, last) < 0)
            .sort(compareHex)
          const snapshot = (reverse ? keys.toReversed() : keys)
            .slice(0, limit)
            .map((key) => ({ key: fromHex(key), value: live.get(key)!.slice() }))
          yield* snapshot
        },
        transaction(changes, { durability }) {
          // Copies also of Buffers, whose own `slice` is none.
          const copies = changes.map(({ key, value }) => ({
            key: new Uint8Array(key),
            value: value && new Uint8Array(value),
          }))
          const done = queue.then(async () => {
            await turns()
            // In the same turn as the effect: a dead process changes nothing.
            check(begun)
            if (faults.failingTransactions > 0) {
              faults.failingTransactions -= 1
              throw fail('INDEX_FAILED', { reason: 'EIO' })
            }
            if (faults.fullTransactions > 0) {
              faults.fullTransactions -= 1
              throw fail('DISK_FULL', { reason: 'ENOSPC' })
            }
            apply(live, copies)
            unflushed.push(copies)
            await turns()
            check(begun)
            if (durability === 'written') return
            for (const flushed of unflushed) apply(durable, flushed)
            unflushed = []
          })
          queue = done.catch(() => undefined)
          return done
        },
        async close() {
          await queue
        },
      }
    },
    losePower() {
      epoch += 1
      for (const changes of unflushed.slice(0, chance.below(unflushed.length + 1))) apply(durable, changes)
      unflushed = []
      live = new Map(durable)
    },
    endProcess() {
      epoch += 1
    },
    lose() {
      live = new Map()
      durable = new Map()
      unflushed = []
    },
  }
}

function apply(map: Map<string, Uint8Array>, changes: readonly IndexChange[]): void {
  for (const { key, value } of changes) {
    if (value === undefined) map.delete(toHex(key))
    else map.set(toHex(key), value)
  }
}

/** Byte order: hex of one case sorts as the bytes do, a prefix first. */
function compareHex(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
