import type { Index, IndexChange } from '@weightless/core'
import { createFail } from '@weightless/core'
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
  let live: Rows = new Map()
  let durable: Rows = new Map()
  /** Names of the live rows in their order, from the first range after a change of them. */
  let ordered: readonly string[] | undefined
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
          return live.get(nameOf(key))?.value.slice()
        },
        *range({ from, to, limit = Infinity, reverse = false }) {
          check(begun)
          ordered ??= [...live.keys()].sort()
          const names = ordered.slice(countBelow(ordered, nameOf(from)), countBelow(ordered, nameOf(to)))
          const snapshot = (reverse ? names.toReversed() : names).slice(0, limit).map((name) => {
            const { key, value } = live.get(name)!
            return { key: key.slice(), value: value.slice() }
          })
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
            ordered = undefined
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
      ordered = undefined
    },
    endProcess() {
      epoch += 1
    },
    lose() {
      live = new Map()
      ordered = undefined
      durable = new Map()
      unflushed = []
    },
  }
}

/** By the name of their key. */
type Rows = Map<string, { readonly key: Uint8Array; readonly value: Uint8Array }>

function apply(rows: Rows, changes: readonly IndexChange[]): void {
  for (const { key, value } of changes) {
    if (value === undefined) rows.delete(nameOf(key))
    else rows.set(nameOf(key), { key, value })
  }
}

/** A character for each byte: such names sort as the bytes do, a prefix first. */
function nameOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1')
}

/** How many of these names come before this one. */
function countBelow(names: readonly string[], name: string): number {
  let [low, high] = [0, names.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (names[middle]! < name) low = middle + 1
    else high = middle
  }
  return low
}
