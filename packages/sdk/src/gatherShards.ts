import { SEGMENT_SIZE_BYTES, stripeRuns, type StripePlan, type StripeRun, type WantedStripe } from '@weightless/core'
import { DOWNLOAD_BATCH_SEGMENTS } from './batches.ts'
import type { Client } from './client.ts'
import type { NodeFailure } from './holders.ts'
import type { Located } from './locate.ts'
import type { ProvenRun, RootedSegment } from './provenRun.ts'
import type { Rate } from './rate.ts'
import { abortable, childScope, childScopes } from './scope.ts'
import { hedgeMs } from './segmentReader.ts'
import type { ShardHolders, Way } from './shardHolders.ts'
import { shardsLost } from './shardsLost.ts'

/** What it takes to read some stripes or to compute them, each shard proven by the root of its entry. */
export type GatheredShards = {
  readonly plans: readonly Extract<StripePlan, { kind: 'read' }>[]
  shard(stripe: number, slot: number): RootedSegment
  /** All that came, whether a plan names it or not. */
  readonly runs: readonly (ProvenRun & { readonly slot: number })[]
}

export type GatherDeps = { readonly client: Client; readonly holders: ShardHolders; readonly rate: Rate }

/** Fetches until every stripe can be read or computed. A slot that is late is made up for by others while it is waited for. Throws
 *  `SHARDS_LOST`. */
export async function gatherShards(
  object: Pick<Located, 'root' | 'seq' | 'sizeBytes'>,
  what: { readonly way: Way; readonly stripes: readonly WantedStripe[] },
  failures: NodeFailure[],
  { client, holders, rate }: GatherDeps,
  { signal: outer }: { readonly signal: AbortSignal },
): Promise<GatheredShards> {
  const { way, stripes } = what
  const { clock, logger } = client.deps
  const scope = childScope(outer)
  const scopes = childScopes(scope.signal)
  /** Shards by stripe and slot. */
  const have = new Map<string, RootedSegment>()
  const dead = new Set<number>()
  const late = new Set<number>()
  const states = { has: (stripe: number, slot: number) => have.has(nameOf(stripe, slot)), dead, late }
  const runs: (ProvenRun & { readonly slot: number })[] = []
  const open = new Set<string>()
  let wake: () => void = () => undefined
  let broken: unknown
  let isAsking = false

  function begin(slot: number, run: StripeRun): void {
    const names = Array.from({ length: run.count }, (_, i) => nameOf(run.from + i, slot))
    for (const one of names) open.add(one)
    const child = scopes.child()
    const timer = scopes.child()
    clock.sleep(hedgeMs(rate, run.count * SEGMENT_SIZE_BYTES), { signal: timer.signal }).then(
      () => {
        late.add(slot)
        logger.debug('slot.late', { root: object.root, run: `${slot} ${run.from} ${run.count}` })
        wake()
      },
      () => undefined,
    )
    holders
      .fetchSlot(holders.latest(way).parity, { ...run, slot }, failures, { signal: child.signal })
      .then(
        (fetched) => {
          if (fetched === undefined) dead.add(slot)
          else {
            runs.push({ ...fetched, slot })
            fetched.segments.forEach((segment, i) => have.set(nameOf(run.from + i, slot), segment))
          }
        },
        (error: unknown) => void (broken ??= error),
      )
      .finally(() => {
        for (const one of names) open.delete(one)
        timer.end()
        child.end()
        wake()
      })
      .catch(() => undefined)
  }

  function askOthers(): void {
    if (holders.isComplete() || isAsking) return
    isAsking = true
    void holders
      .askAgain({ signal: outer })
      .catch((error: unknown) => void (broken ??= error))
      .then(() => {
        isAsking = false
        wake()
      })
  }

  try {
    for (;;) {
      outer.throwIfAborted()
      if (broken !== undefined) throw broken
      const now = holders.latest(way)
      const plans = stripes.map((wanted) => holders.planFor(now, wanted, states))
      const lost = plans.find((plan) => plan.kind === 'lost')
      if (lost !== undefined && holders.isComplete())
        throw await shardsLost(client, object, { parity: now.parity, plan: lost, failures }, { signal: outer })
      // Only as many were asked as all seemed to need: now others are needed, and not at the end of a long wait.
      if (lost !== undefined || late.size + dead.size > 0) askOthers()
      const ready = plans.filter((plan) => plan.kind === 'read')
      const missing = new Map<number, number[]>()
      for (const { stripe, direct, helpers } of ready)
        for (const slot of [...direct, ...helpers])
          if (!states.has(stripe, slot)) missing.set(slot, [...(missing.get(slot) ?? []), stripe])
      if (lost === undefined && missing.size === 0) {
        const came = new Set(runs.map(({ slot }) => slot))
        for (const slot of late) if (!came.has(slot)) holders.slowDown(now.parity, slot)
        return { plans: ready, runs, shard: (stripe, slot) => have.get(nameOf(stripe, slot))! }
      }
      const woken = new Promise<void>((resolve) => (wake = resolve))
      for (const [slot, wanted] of missing) {
        const due = wanted.filter((stripe) => !open.has(nameOf(stripe, slot)))
        for (const run of stripeRuns(due, { countMax: DOWNLOAD_BATCH_SEGMENTS })) begin(slot, run)
      }
      await abortable(woken, { signal: outer })
    }
  } finally {
    scopes.end()
    scope.end()
  }
}

function nameOf(stripe: number, slot: number): string {
  return `${stripe} ${slot}`
}
