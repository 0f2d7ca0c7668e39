import type { ErasureCode } from '@weightless/core'
import { createChance, type Chance } from './chance.ts'

/** What a seed means: the shape of a world, what its clients do, and everything that will go wrong in it, and when. */
export type Plan = {
  readonly nodeCount: number
  /** Failure domains of storage nodes, by number; who has none fails alone. */
  readonly domains: readonly (string | undefined)[]
  /** Storage nodes that are there from the beginning and join later. */
  readonly spareCount: number
  /** What the gateway gives official uploads; `undefined`: copies. */
  readonly gatewayCode: ErasureCode | undefined
  readonly ownClients: number
  readonly officialClients: number
  readonly objects: readonly PlannedObject[]
  /** From the first upload to the end of all faults. */
  readonly faultMs: number
  readonly blockMs: number
  readonly headPollMs: number
  /** Of the registry: members speak twice in that time. */
  readonly graceSeconds: number
  readonly finalityDepth: number
  readonly net: {
    readonly loss: number
    readonly duplication: number
    readonly delay: number
    readonly cut: number
    readonly corruption: number
  }
  /** A storage node that answers wrongly. */
  readonly liar: number | undefined
  /** What it lies about: any of its answers; or that it has, and has repaired, what it has not, with fingerprints that it `copies`
   *  where it can, or makes up. */
  readonly lies: 'answers' | 'copies' | 'madeUp'
  /** The gateway answers wrongly, and nothing that it alone says counts. */
  readonly gatewayLies: boolean
  readonly faults: readonly PlannedFault[]
  /** Before anybody else comes. */
  readonly attacks: readonly PlannedAttack[]
  /** One after the other, each when everything is at full strength again. */
  readonly losses: readonly PlannedLoss[]
}
export type PlannedObject = {
  /** Which client of its kind uploads it. */
  readonly client: number
  readonly kind: 'own' | 'official'
  readonly sizeBytes: number
  /** The same bytes as that earlier object, with `sizeBytes` of its own: more or fewer zeros behind. */
  readonly twinOf: number | undefined
  readonly until: 'durable' | 'final'
  /** `undefined`: whole copies. */
  readonly code: ErasureCode | undefined
  /** How an official client sends: a segment at a time or all in one, and before or after its entry is on chain. */
  readonly how: { readonly batch: boolean; readonly early: boolean; readonly bySeq: boolean }
  readonly pauseMs: number
}
/** A stranger submits the bytes of this object, and parity that is none. */
export type PlannedAttack = { readonly object: number; readonly code: ErasureCode }
/** No more holders of any object than it can lose, all at once; then, while what they had is made good, ordinary faults. */
export type PlannedLoss = {
  readonly machines: readonly number[]
  /** `gone`: their disks too, and they never come back. `emptied`: they come back without their disks. `away`: they come back with
   *  what was synced. `rotten`: they stay, and bits of what they keep change. */
  readonly how: 'gone' | 'emptied' | 'away' | 'rotten'
  /** Machines that join in their place. */
  readonly joining: readonly number[]
  /** From the moment when they are made good. */
  readonly faults: readonly PlannedFault[]
  readonly faultMs: number
}
/** `machine`: storage nodes from 0 on, then the gateway, then those storage nodes that join later. */
export type PlannedFault = { readonly atMs: number } & (
  | {
      readonly kind: 'crash'
      readonly machine: number
      readonly how: 'process' | 'power'
      readonly steps: number
      readonly downMs: number
    }
  | { readonly kind: 'clientCrash'; readonly client: number; readonly steps: number }
  | { readonly kind: 'partition'; readonly machines: readonly number[]; readonly ms: number }
  | { readonly kind: 'chainAway'; readonly ms: number }
  | { readonly kind: 'chainFlaky'; readonly share: number; readonly ms: number }
  | { readonly kind: 'diskFull'; readonly machine: number; readonly ms: number }
  | { readonly kind: 'slowDisk'; readonly machine: number; readonly ms: number }
  | { readonly kind: 'failingSyncs' | 'failingWrites'; readonly machine: number }
  | { readonly kind: 'rot'; readonly machine: number; readonly count: number }
  | { readonly kind: 'wipe'; readonly machine: number; readonly downMs: number }
  | { readonly kind: 'loseIndex'; readonly machine: number; readonly downMs: number }
  | { readonly kind: 'skew'; readonly machine: number; readonly ms: number }
  | { readonly kind: 'reorg'; readonly depth: number }
  | { readonly kind: 'price'; readonly percent: number }
  /** A node that is well leaves, as its operator wants it. */
  | { readonly kind: 'drain'; readonly machine: number }
)
export type PlanOptions = {
  /** Blocks that a reorganisation may take away; 0: none happens. */
  readonly reorgDepthMax: number
}

/** Copies that a plan may destroy on purpose (rot, a deleted directory, a liar): one less than there are. */
const DAMAGED_MAX = 2
const HOUR_MS = 3_600_000

export function planOf(seed: number, options: PlanOptions): Plan {
  const chance = createChance(seed)
  const nodeCount = 4 + chance.below(3)
  const ownClients = 1 + chance.below(2)
  const officialClients = 1
  const faultMs = 8_000 + chance.below(22_000)
  // A quarter of all worlds has a good network, so that other faults are seen by themselves.
  const share = (most: number): number => (isGood ? 0 : chance.next() * most)
  const isGood = chance.below(4) === 0
  const damageable = chance.below(DAMAGED_MAX + 1)
  const liar = damageable > 0 && chance.below(3) === 0 ? chance.below(nodeCount) : undefined
  const damaged = new Set<number>(liar === undefined ? [] : [liar])
  const reorgDepthMax = Math.min(options.reorgDepthMax, 1 + chance.below(Math.max(1, options.reorgDepthMax)))
  return {
    nodeCount,
    domains: [],
    spareCount: 0,
    gatewayCode: undefined,
    ownClients,
    officialClients,
    objects: planObjects(chance, { ownClients, officialClients, faultMs }),
    faultMs,
    blockMs: chance.below(2) === 0 ? 20 : 200 + chance.below(2_000),
    headPollMs: 500 + chance.below(3_000),
    graceSeconds: 30,
    finalityDepth: reorgDepthMax + chance.below(2),
    net: { loss: share(0.08), duplication: share(0.08), delay: share(0.05), cut: share(0.05), corruption: share(0.05) },
    liar,
    lies: 'answers',
    gatewayLies: false,
    faults: planFaults(chance, { nodeCount, ownClients, officialClients, faultMs, damaged, damageable, reorgDepthMax }),
    attacks: [],
    losses: [],
  }
}

function planObjects(
  chance: Chance,
  about: { readonly ownClients: number; readonly officialClients: number; readonly faultMs: number },
): readonly PlannedObject[] {
  const objects: PlannedObject[] = []
  const count = 4 + chance.below(4)
  for (let i = 0; i < count; i++) {
    const kind = chance.below(3) === 0 ? 'official' : 'own'
    const twinOf = i > 0 && chance.below(8) === 0 ? chance.below(i) : undefined
    const twin = twinOf === undefined ? undefined : objects[twinOf]!
    objects.push({
      client: chance.below(kind === 'own' ? about.ownClients : about.officialClients),
      kind,
      sizeBytes: twin === undefined ? sizeOf(chance) : Math.max(1, twin.sizeBytes - chance.below(2) * chance.below(3)),
      twinOf: twin?.twinOf ?? twinOf,
      until: chance.below(3) === 0 ? 'final' : 'durable',
      code: undefined,
      how: { batch: chance.below(2) === 0, early: chance.below(4) === 0, bySeq: chance.below(2) === 0 },
      pauseMs: chance.below(Math.floor((2 * about.faultMs) / count)),
    })
  }
  return objects
}

/** Mostly a few chunks; sometimes around the ends of segments, where layouts change. */
function sizeOf(chance: Chance): number {
  const SEGMENT = 262_144
  switch (chance.below(8)) {
    case 0:
      return 1 + chance.below(3 * SEGMENT)
    case 1:
      return SEGMENT * (1 + chance.below(2)) - 1 + chance.below(3)
    case 2:
      return 256 * (1 + chance.below(16)) - 1 + chance.below(3)
    default:
      return 1 + chance.below(6_000)
  }
}

export function planFaults(
  chance: Chance,
  about: {
    readonly nodeCount: number
    readonly ownClients: number
    readonly officialClients: number
    readonly faultMs: number
    readonly damaged: Set<number>
    readonly damageable: number
    readonly reorgDepthMax: number
  },
): readonly PlannedFault[] {
  const { nodeCount, faultMs, damaged, damageable } = about
  const faults: PlannedFault[] = []
  const node = (): number => chance.below(nodeCount)
  const machine = (): number => chance.below(nodeCount + 1)
  const ms = (most: number): number => 200 + chance.below(most)
  const count = 2 + chance.below(8)
  for (let i = 0; i < count; i++) {
    const atMs = chance.below(faultMs)
    switch (chance.below(15)) {
      case 0:
      case 1:
      case 2:
      case 3:
        // Most crashes hit the middle of something: the steps are counted from a moment when clients are at work.
        faults.push({
          atMs,
          kind: 'crash',
          machine: machine(),
          how: chance.below(2) === 0 ? 'process' : 'power',
          steps: 1 + chance.below(80),
          downMs: chance.below(10_000),
        })
        break
      case 4:
        // The power of a whole room: everything that was acknowledged must have been on disk everywhere.
        for (let at = 0; at <= nodeCount; at++)
          faults.push({
            atMs,
            kind: 'crash',
            machine: at,
            how: 'power',
            steps: 1 + chance.below(8),
            downMs: chance.below(3_000),
          })
        break
      case 5:
        faults.push({
          atMs,
          kind: 'clientCrash',
          client: chance.below(about.ownClients + about.officialClients),
          steps: 1 + chance.below(120),
        })
        break
      case 6:
        faults.push({ atMs, kind: 'partition', machines: [machine(), machine()], ms: ms(15_000) })
        break
      case 7:
        if (chance.below(2) === 0) faults.push({ atMs, kind: 'chainAway', ms: ms(10_000) })
        else faults.push({ atMs, kind: 'chainFlaky', share: chance.next() * 0.4, ms: ms(15_000) })
        break
      case 8:
        faults.push({ atMs, kind: 'diskFull', machine: machine(), ms: ms(10_000) })
        break
      case 9:
        faults.push({ atMs, kind: 'slowDisk', machine: machine(), ms: ms(10_000) })
        break
      case 10:
        faults.push({ atMs, kind: chance.below(2) === 0 ? 'failingSyncs' : 'failingWrites', machine: machine() })
        break
      case 11: {
        const victim = node()
        if (!damaged.has(victim) && damaged.size >= damageable) break
        damaged.add(victim)
        if (chance.below(2) === 0) faults.push({ atMs, kind: 'rot', machine: victim, count: 1 + chance.below(4) })
        else faults.push({ atMs, kind: 'wipe', machine: victim, downMs: chance.below(5_000) })
        break
      }
      case 12:
        faults.push({ atMs, kind: 'skew', machine: machine(), ms: chance.below(2 * HOUR_MS) - HOUR_MS })
        break
      case 13:
        faults.push({ atMs, kind: 'loseIndex', machine: machine(), downMs: chance.below(5_000) })
        break
      default:
        if (about.reorgDepthMax > 0) faults.push({ atMs, kind: 'reorg', depth: 1 + chance.below(about.reorgDepthMax) })
        else faults.push({ atMs, kind: 'price', percent: 50 + chance.below(200) })
    }
  }
  if (about.reorgDepthMax > 0) {
    for (let left = 1 + chance.below(3); left > 0; left--)
      faults.push({ atMs: chance.below(faultMs), kind: 'reorg', depth: 1 + chance.below(about.reorgDepthMax) })
  }
  return faults.sort((a, b) => a.atMs - b.atMs)
}
