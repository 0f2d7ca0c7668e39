import type { SimChain } from '../chain.ts'
import type { createChance } from '../chance.ts'
import type { Checker } from '../checkers.ts'
import type { VirtualTime } from '../clock.ts'
import type { Plan } from '../faults.ts'
import type { SimNet } from '../net.ts'
import type { Planted } from '../planted.ts'
import type { Process } from '../process.ts'
import type { Trace } from '../trace.ts'

/** What all parts of a world share. */
export type World = {
  readonly worldId: number
  readonly plan: Plan
  readonly seed: number
  readonly time: VirtualTime
  readonly trace: Trace
  readonly net: SimNet
  readonly chain: SimChain
  readonly checker: Checker
  readonly planted: Planted | undefined
  readonly chainState: { isAway: boolean; flakyShare: number }
  readonly chance: ReturnType<typeof createChance>
  readonly processes: Process[]
  processCount: number
  crashes: number
  reorgs: number
  /** Storage nodes whose copies were destroyed on purpose. */
  readonly damaged: Set<number>
  /** Those that hold now. */
  readonly partitions: Set<ReadonlySet<string>>
  faultsFromMs: number
}

export const GATEWAY_URL = 'http://gateway.sim'
export const nodeUrl = (id: number): string => `http://node-${id}.sim`

/** What a user has to begin with. */
export const FUNDS_WEI = 10n ** 24n
export const RETRY_MS = 2_000
