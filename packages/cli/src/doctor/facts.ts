import type { NetworkStatus } from '../local/status.ts'

/** What `doctor` found out about one directory and its network: plain values, judged in checks.ts. `undefined` and `null`: not to be
 *  had, which is a finding where it matters. */
export type DoctorFacts = {
  readonly nowMs: number
  readonly nodeVersion: string
  readonly directory: DirectoryFacts
  readonly network: NetworkFacts
  readonly ports: readonly PortFacts[]
  readonly disk: DiskFacts | undefined
  readonly chain: ChainFacts | undefined
  readonly files: readonly FileFacts[]
  /** Keys of a network that has been started, and that are not there any more. */
  readonly goneKeys: readonly string[]
  readonly nodes: readonly NodeFacts[]
  /** Whether the gateway answers at all; `undefined` where none is said to run. */
  readonly gatewayAnswers: boolean | undefined
  readonly logs: readonly LogFacts[]
  readonly locks: readonly LockFacts[]
  readonly processes: readonly ProcessFacts[]
}

export type DirectoryFacts = {
  readonly path: string
  readonly state: 'absent' | 'ours' | 'foreign' | 'damaged' | 'newer'
  /** Of its format; what this program reads and writes is `supported`. */
  readonly version?: number | undefined
  readonly supported?: number | undefined
}

/** `stale`: network.json names a process that is gone. */
export type NetworkFacts = {
  readonly state: 'down' | 'stale' | 'starting' | 'running' | 'silent'
  readonly pid: number | undefined
  readonly status: NetworkStatus | undefined
  /** What network.json says, of what must agree with the status. */
  readonly file:
    | { readonly problem: string }
    | { readonly pid: number; readonly urls: readonly string[]; readonly pids: readonly (number | null)[] }
    | undefined
}

export type PortFacts = { readonly role: string; readonly port: number; readonly isFree: boolean }

export type DiskFacts = {
  readonly freeBytes: number
  /** Median of a few writes of a page, each made durable; `undefined` where nothing could be written. */
  readonly syncMs: number | undefined
}

export type ChainFacts =
  | { readonly url: string; readonly reachable: false; readonly reason: string }
  | {
      readonly url: string
      readonly reachable: true
      readonly chainId: number
      readonly expectedChainId: number
      readonly headBlock: number
      /** By the chain's own clock. */
      readonly headMs: number
      readonly hasFlow: boolean
    }

/** A file that holds a secret. */
export type FileFacts = { readonly file: string; readonly mode: number }

export type NodeFacts = {
  readonly id: string
  readonly url: string
  readonly state: string
  /** What it says of itself; `undefined` when it does not answer. */
  readonly told:
    | {
        readonly ready: boolean
        readonly readOnly: boolean
        /** Code of what made it read-only. */
        readonly brokenBy: string | undefined
        readonly damagedCount: number
        /** Why it cannot follow the chain, with the next step. */
        readonly chainFault: string | undefined
        /** What it says the registry makes of it; `undefined` for a node without a registry. */
        readonly standing: string | undefined
        /** Why its last transaction failed, with the next step. */
        readonly memberFault: string | undefined
        readonly heartbeatsLeft: number | undefined
        readonly nextSeq: number
        readonly usedBytes: number
        readonly capacityBytes: number
        readonly missingBytes: number
        readonly unavailableEntryCount: number
        readonly etaSeconds: number | null
      }
    | undefined
}

export type LogFacts = { readonly file: string; readonly sizeBytes: number }
export type LockFacts = { readonly file: string; readonly pid: number; readonly isAlive: boolean }
/** A process that runs something of this directory. */
export type ProcessFacts = { readonly pid: number; readonly role: string }
