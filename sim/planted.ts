import { concat, type Clock, type Disk, type DiskFile } from '@weightless/core'
import type { Plan, PlannedFault } from './faults.ts'

/** Test-only: a defect that the software under test shall seem to have, put in at a port. */
export type Planted = {
  readonly nodeDisk?: (disk: Disk) => Disk
  readonly userClock?: (clock: Clock) => Clock
}

// Defects on purpose, each at a port of the code under test: a simulator that does not find them finds nothing.

/** Acknowledges before its sync: what was written reaches the platter when the next write comes. */
export function ackBeforeSync(): Planted {
  return {
    nodeDisk: (disk) =>
      wrapFiles(disk, (file) => {
        let isDue = false
        return {
          ...file,
          async write(parts, position) {
            if (isDue) await file.sync()
            isDue = false
            await file.write(parts, position)
          },
          async sync() {
            isDue = true
          },
        }
      }),
  }
}

/** Commits the index before the data: a write stays in the memory of the process until the next one comes, long after the row that
 *  says it is there. */
export function indexBeforeData(): Planted {
  return {
    nodeDisk: (disk) =>
      wrapFiles(disk, (file) => {
        let kept: { readonly bytes: Uint8Array; readonly position: number } | undefined
        return {
          ...file,
          async read(into, position) {
            const sizeBytes = await file.read(into, position)
            if (kept === undefined) return sizeBytes
            const from = Math.max(position, kept.position)
            const to = Math.min(position + into.length, kept.position + kept.bytes.length)
            if (from >= to) return sizeBytes
            into.set(kept.bytes.subarray(from - kept.position, to - kept.position), from - position)
            return Math.max(sizeBytes, to - position)
          },
          async write(parts, position) {
            const last = kept
            kept = { bytes: concat(parts), position }
            if (last === undefined) return
            await file.write([last.bytes], last.position)
            await file.sync()
          },
          // Nothing was written yet, so there is nothing to sync.
          sync: async () => undefined,
        }
      }),
  }
}

/** Waits for ever: no deadline ever passes. */
export function waitForEver(): Planted {
  const LONG_MS = 3_000
  return {
    userClock: (clock: Clock): Clock => ({
      ...clock,
      sleep: (ms, options) =>
        ms < LONG_MS
          ? clock.sleep(ms, options)
          : new Promise((_, reject) => {
              options.signal?.addEventListener('abort', () => reject(options.signal!.reason as Error), { once: true })
            }),
      deadline: () => new AbortController().signal,
    }),
  }
}

function wrapFiles(disk: Disk, wrap: (file: DiskFile) => DiskFile): Disk {
  return {
    ...disk,
    open: async (path, options) => {
      const file = await disk.open(path, options)
      return path.endsWith('.dat') ? wrap(file) : file
    },
  }
}

/** Everything loses its power, or its processes, late in the plan and all at once. */
export function everythingStops(how: 'process' | 'power'): (plan: Plan) => Plan {
  return (plan) => ({
    ...plan,
    liar: undefined,
    faults: [
      ...plan.faults.filter(({ kind }) => kind !== 'rot' && kind !== 'wipe'),
      ...[0.25, 0.5, 0.75, 0.95].flatMap((share) =>
        Array.from({ length: plan.nodeCount + 1 }, (_, machine): PlannedFault => {
          return { atMs: Math.floor(plan.faultMs * share), kind: 'crash', machine, how, steps: 1, downMs: 100 }
        }),
      ),
    ],
  })
}
