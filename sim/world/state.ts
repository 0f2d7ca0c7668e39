import type { SimChain } from '../chain.ts'
import type { createChance } from '../chance.ts'
import type { Checker } from '../checkers.ts'
import type { VirtualTime } from '../clock.ts'
import type { Plan } from '../faults.ts'
import type { SimMachine } from '../machine.ts'
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
  /** Storage nodes from 0 on, then the gateway, then those storage nodes that join later: as a plan numbers them. */
  machines: readonly SimMachine[]
  /** Machines that do not run, or not yet, or never again. */
  readonly absent: Set<number>
  readonly processes: Process[]
  processCount: number
  crashes: number
  joinedCount: number
  reorgs: number
  /** Storage nodes whose copies were destroyed on purpose. */
  readonly damaged: Set<number>
  /** Those that hold now. */
  readonly partitions: Set<ReadonlySet<string>>
  faultsEndMs: number
}

/** Storage nodes that are there, by number. */
export function nodesOf({ plan, machines, absent }: World): readonly number[] {
  return machines.flatMap((_, at) => (at === plan.nodeCount || absent.has(at) ? [] : [at]))
}

/** Machines that are there. */
export function machinesOf({ machines, absent }: World): readonly SimMachine[] {
  return machines.filter((_, at) => !absent.has(at))
}

/** Of the gateway's operator, who pays for parity. */
export const OPERATOR = 99

export const GATEWAY_URL = 'http://gateway.sim'
export const nodeUrl = (id: number): string => `http://node-${id}.sim`

/** What a user has to begin with. */
export const FUNDS_WEI = 10n ** 24n
export const RETRY_MS = 2_000
