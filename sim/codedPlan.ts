import { lossesNeededOf, REPLICA_COUNT, SEGMENT_SIZE_BYTES, type ErasureCode } from '@weightless/core'
import { createChance, type Chance } from './chance.ts'
import {
  planFaults,
  type Plan,
  type PlannedAttack,
  type PlannedFault,
  type PlannedLoss,
  type PlannedObject,
  type PlanOptions,
} from './faults.ts'

/** Small ones are tried most: what they do in the middle of a stripe, large ones do more often. */
const CODES: readonly ErasureCode[] = [
  { k: 1, m: 2 },
  { k: 2, m: 1 },
  { k: 2, m: 2 },
  { k: 4, m: 2 },
  { k: 2, m: 3 },
  { k: 3, m: 3 },
]
const LARGE_CODE: ErasureCode = { k: 10, m: 4 }

/** A world whose objects are under erasure codes, beside a few in copies. Its faults destroy no more of an object than its
 *  certificate must say that it can lose; once all of it is at full strength, its losses destroy all but what is needed. */
export function codedPlanOf(seed: number, options: PlanOptions): Plan {
  const chance = createChance(seed ^ 0xc0de)
  const codes = chooseCodes(chance)
  const widest = Math.max(...codes.map(({ k, m }) => k + m))
  // One node fewer than slots now and then: the last parity slot has no home then.
  const isScarce = codes.every(({ m }) => m > 1) && chance.below(8) === 0
  const nodeCount = Math.max(REPLICA_COUNT + 1, widest + (isScarce ? -1 : chance.below(3)))
  const ownClients = 1 + chance.below(2)
  const officialClients = 1
  const faultMs = 8_000 + chance.below(22_000)
  // Heartbeats cost as much as everything else: most worlds have few.
  const isBusy = createChance(seed ^ 0xbea7).below(4) === 0
  const share = (most: number): number => (isGood ? 0 : chance.next() * most)
  const isGood = chance.below(4) === 0
  // What every certificate promises; copies of the gateway and of our users bear as much.
  const losable = Math.min(REPLICA_COUNT - 1, ...codes.map(lossesNeededOf))
  const damageable = chance.below(losable + 1)
  const liar = damageable > 0 && chance.below(3) === 0 ? chance.below(nodeCount) : undefined
  const damaged = new Set<number>(liar === undefined ? [] : [liar])
  const reorgDepthMax = Math.min(options.reorgDepthMax, 1 + chance.below(Math.max(1, options.reorgDepthMax)))
  const gatewayLies = createChance(seed ^ 0x6a7e).below(6) === 0
  const drained = planDrain(createChance(seed ^ 0xd4a1), { nodeCount, widest, faultMs })
  const objects = planObjects(chance, { codes, ownClients, officialClients, faultMs })
  const domains = planDomains(chance, nodeCount, codes)
  const losses = planLosses(chance, { codes, nodeCount, domains, liar, isScarce, drained: drained?.machine })
  return {
    nodeCount,
    domains,
    spareCount: losses.reduce((sum, { joining }) => sum + joining.length, 0),
    gatewayCode: gatewayLies ? undefined : planGateway(createChance(seed ^ 0x9a7e), codes),
    ownClients,
    officialClients,
    objects,
    faultMs,
    blockMs: chance.below(2) === 0 ? 20 : 200 + chance.below(2_000),
    headPollMs: 1_000 + chance.below(4_000),
    graceSeconds: isBusy ? 30 : 120,
    finalityDepth: reorgDepthMax + chance.below(2),
    net: { loss: share(0.08), duplication: share(0.08), delay: share(0.05), cut: share(0.05), corruption: share(0.05) },
    liar,
    lies: (['answers', 'answers', 'copies', 'madeUp'] as const)[createChance(seed ^ 0x11e5).below(4)]!,
    gatewayLies,
    faults: withFault(
      planFaults(chance, { nodeCount, ownClients, officialClients, faultMs, damaged, damageable, reorgDepthMax }),
      drained,
    ),
    attacks: planAttacks(createChance(seed ^ 0xbad), objects),
    losses,
  }
}

/** One, or two that may meet in one object; now and then a large one, which takes many nodes. */
function chooseCodes(chance: Chance): readonly ErasureCode[] {
  if (chance.below(16) === 0) return [LARGE_CODE]
  const first = CODES[chance.below(CODES.length)]!
  const second = CODES[chance.below(CODES.length)]!
  return chance.below(2) === 0 ? [first] : [first, second]
}

function planObjects(
  chance: Chance,
  about: {
    readonly codes: readonly ErasureCode[]
    readonly ownClients: number
    readonly officialClients: number
    readonly faultMs: number
  },
): readonly PlannedObject[] {
  const objects: PlannedObject[] = []
  const count = 2 + chance.below(3)
  for (let i = 0; i < count; i++) {
    const kind = chance.below(6) === 0 ? 'official' : 'own'
    const twinOf = i > 0 && chance.below(6) === 0 ? chance.below(i) : undefined
    const twin = twinOf === undefined ? undefined : objects[twinOf]!
    const code = about.codes[chance.below(about.codes.length)]!
    objects.push({
      client: chance.below(kind === 'own' ? about.ownClients : about.officialClients),
      kind,
      sizeBytes: twin?.sizeBytes ?? sizeOf(chance, code),
      twinOf: twin?.twinOf ?? twinOf,
      until: chance.below(3) === 0 ? 'final' : 'durable',
      code: kind === 'own' && chance.below(8) > 0 ? code : undefined,
      how: { batch: chance.below(2) === 0, early: chance.below(4) === 0, bySeq: chance.below(2) === 0 },
      pauseMs: chance.below(Math.floor((2 * about.faultMs) / count)),
    })
  }
  return objects
}

/** One segment; less than a stripe; whole stripes; stripes of which the last one is short. The last segment is short mostly. */
function sizeOf(chance: Chance, { k }: ErasureCode): number {
  const shortBytes = chance.below(3) === 0 ? 0 : chance.below(SEGMENT_SIZE_BYTES - 1)
  switch (chance.below(6)) {
    case 0:
      return SEGMENT_SIZE_BYTES - shortBytes
    case 1:
      return SEGMENT_SIZE_BYTES * Math.max(2, chance.below(k + 1)) - shortBytes
    case 2:
      return SEGMENT_SIZE_BYTES * k * (1 + chance.below(2)) + SEGMENT_SIZE_BYTES - shortBytes
    default:
      return SEGMENT_SIZE_BYTES * (2 + chance.below(Math.min(8, 2 * k + 1))) - shortBytes
  }
}

/** Rooms with as many machines as any object can lose, where there are any. */
function planDomains(
  chance: Chance,
  nodeCount: number,
  codes: readonly ErasureCode[],
): readonly (string | undefined)[] {
  const sizeMax = losableAt(codes, nodeCount)
  if (sizeMax < 2 || chance.below(3) === 0) return []
  return Array.from({ length: nodeCount }, (_, at) => `room ${Math.floor(at / sizeMax)}`)
}

/** Holders that no object of the world needs once it is at full strength. */
function losableAt(codes: readonly ErasureCode[], nodeCount: number): number {
  return Math.min(REPLICA_COUNT - 1, ...codes.map(({ k, m }) => Math.min(m, nodeCount - k)))
}

/** Parity in two worlds of three. */
function planGateway(chance: Chance, codes: readonly ErasureCode[]): ErasureCode | undefined {
  return chance.below(3) === 0 ? undefined : codes[chance.below(codes.length)]!
}

/** In one world of four, where there are homes enough without it. Whoever lies may go as well. */
function planDrain(
  chance: Chance,
  about: {
    readonly nodeCount: number
    readonly widest: number
    readonly faultMs: number
  },
): Extract<PlannedFault, { readonly kind: 'drain' }> | undefined {
  const { nodeCount, widest, faultMs } = about
  if (nodeCount <= Math.max(REPLICA_COUNT, widest) || chance.below(4) > 0) return undefined
  return { atMs: chance.below(faultMs), kind: 'drain', machine: chance.below(nodeCount) }
}

function withFault(faults: readonly PlannedFault[], one: PlannedFault | undefined): readonly PlannedFault[] {
  return one === undefined ? faults : [...faults, one].sort((a, b) => a.atMs - b.atMs)
}

/** In one world of three, of one of its objects: under the code of its owner, or one that promises more. */
function planAttacks(chance: Chance, objects: readonly PlannedObject[]): readonly PlannedAttack[] {
  const targets = objects.flatMap(({ code, sizeBytes }, object) =>
    code !== undefined && sizeBytes > SEGMENT_SIZE_BYTES ? [{ object, code }] : [],
  )
  if (targets.length === 0 || chance.below(3) > 0) return []
  const { object, code } = targets[chance.below(targets.length)]!
  return [{ object, code: { k: code.k, m: code.m + chance.below(2) } }]
}

function planLosses(
  chance: Chance,
  about: {
    readonly codes: readonly ErasureCode[]
    readonly nodeCount: number
    readonly domains: readonly (string | undefined)[]
    readonly liar: number | undefined
    readonly isScarce: boolean
    /** Leaves before the first loss. */
    readonly drained: number | undefined
  },
): readonly PlannedLoss[] {
  const { codes, nodeCount, domains, liar, isScarce } = about
  const losses: PlannedLoss[] = []
  let here = Array.from({ length: nodeCount }, (_, at) => at).filter((at) => at !== about.drained)
  // The gateway has the number in between.
  let nextMachine = nodeCount + 1
  for (let left = chance.below(3); left > 0; left--) {
    // Whoever lies may be counted out at any moment.
    const losable = losableAt(codes, here.length) - (liar === undefined ? 0 : 1)
    if (losable < 1) break
    const honest = here.filter((at) => at !== liar)
    const room = domains[honest[chance.below(honest.length)]!]
    const inRoom = honest.filter((at) => room !== undefined && domains[at] === room)
    const isRoom = inRoom.length > 0 && inRoom.length <= losable && chance.below(2) === 0
    const machines = isRoom ? inRoom : someOf(chance, honest, 1 + chance.below(losable))
    const how = (['gone', 'gone', 'emptied', 'away', 'rotten'] as const)[chance.below(5)]!
    const isReplaced =
      isScarce ||
      here.length - machines.length < nodeCount - (about.drained === undefined ? 0 : 1) ||
      chance.below(3) > 0
    const joinCount = how === 'gone' && isReplaced ? machines.length : 0
    const joining = Array.from({ length: joinCount }, () => nextMachine++)
    if (how === 'gone') here = [...here.filter((at) => !machines.includes(at)), ...joining]
    const faultMs = 10_000 + chance.below(30_000)
    losses.push({
      machines,
      how,
      joining,
      faultMs,
      // Nothing more is destroyed.
      faults: planFaults(chance, {
        nodeCount,
        ownClients: 0,
        officialClients: 0,
        faultMs,
        damaged: new Set(),
        damageable: 0,
        reorgDepthMax: 0,
      }),
    })
  }
  return losses
}

function someOf<T>(chance: Chance, all: readonly T[], count: number): readonly T[] {
  const left = [...all]
  return Array.from({ length: Math.min(count, left.length) }, () => left.splice(chance.below(left.length), 1)[0]!)
}
