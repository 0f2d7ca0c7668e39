import { evenDomains, fewestDomains, lossProbability } from './lossModel.ts'
import type { Scenario } from './scenario.ts'

type Protection = {
  readonly name: string
  readonly k: number
  readonly m: number
}

/** The first is what the others are compared with. */
const PROTECTIONS: readonly Protection[] = [
  { name: 'three copies, 1+2', k: 1, m: 2 },
  { name: '4+2', k: 4, m: 2 },
  { name: '10+4', k: 10, m: 4 },
  { name: '29+51', k: 29, m: 51 },
]

/** A world. `repairHours` of a shard from its loss on, which for a code may depend on how much is read to compute it. */
type World = {
  readonly name: string
  /** Share of all nodes that lose everything in a year, each for itself. */
  readonly nodesLostPerYear: number
  /** The same of whole domains. */
  readonly domainsLostPerYear: number
  readonly repairHours: (k: number) => number
}

/** One node takes over all that another has lost, at the most that a node reads for repair (`SYNC_BYTES_PER_SECOND_MAX`). */
const NODE_BYTES = 1e12
const REPAIR_BYTES_PER_SECOND: number = 64 * 1024 ** 2
const NOTICE_HOURS = 1

const WORLDS: readonly World[] = [
  { name: 'usual', nodesLostPerYear: 0.1, domainsLostPerYear: 0.01, repairHours: () => 24 },
  {
    name: 'one repairer',
    nodesLostPerYear: 0.1,
    domainsLostPerYear: 0.01,
    repairHours: (k) => NOTICE_HOURS + (k * NODE_BYTES) / REPAIR_BYTES_PER_SECOND / 3600,
  },
  { name: 'harsh', nodesLostPerYear: 0.5, domainsLostPerYear: 0.05, repairHours: () => 7 * 24 },
]

/** What is smaller is not told: what the model leaves out is larger by far. */
const TOLD_MIN = 1e-30

/** Computed, not measured: docs/bench/durability.md says what of, and what is left out. */
export const durability: Scenario = {
  name: 'durability',
  about: 'modelled annual loss of an object under codes, beside three copies',
  async run(lab) {
    const rows: string[][] = []
    for (const world of WORLDS) {
      const copies = lossesOf(world, PROTECTIONS[0]!)
      for (const protection of PROTECTIONS) {
        lab.signal.throwIfAborted()
        lab.note(`${world.name}, ${protection.name}`)
        const { name, k, m } = protection
        rows.push([
          world.name,
          name,
          ((k + m) / k).toFixed(2),
          String(m),
          world.repairHours(k).toFixed(0),
          ...lossesOf(world, protection).map((loss, i) => describeLoss(loss, copies[i]!)),
        ])
      }
    }
    return {
      columns: [
        'world',
        'protected by',
        'stored / size',
        'losses survived',
        'repair, h',
        'independent',
        'a domain for each holder',
        'four domains',
        'fewest domains',
      ],
      rows,
      notes: [
        'probability that one object is lost within a year; in brackets, as a multiple of that of three copies in the same world',
        ...WORLDS.map(
          ({ name, nodesLostPerYear, domainsLostPerYear }) =>
            `${name}: ${nodesLostPerYear * 100} % of nodes lose everything in a year; where there are domains, ${domainsLostPerYear * 100} % of them do so as a whole`,
        ),
        'four domains: holders spread as evenly as can be; fewest domains: m holders in each, the most that placement allows',
        `one repairer: noticed after ${NOTICE_HOURS} h, then one node reads k bytes for each of ${NODE_BYTES / 1e12} TB at 64 MiB/s; the other worlds give every code the same time`,
        'computed, the same on every machine: packages/cli/src/bench/lossModel.ts, in doubles',
      ],
    }
  },
}

function lossesOf(world: World, { k, m }: Protection): readonly number[] {
  const n = k + m
  const common = {
    lossesMax: m,
    nodeFailuresPerYear: rateOf(world.nodesLostPerYear),
    repairDays: world.repairHours(k) / 24,
  }
  const domainFailuresPerYear = rateOf(world.domainsLostPerYear)
  return [
    lossProbability({ ...common, domainSizes: evenDomains(n, n), domainFailuresPerYear: 0 }, 1),
    ...[evenDomains(n, n), evenDomains(n, 4), fewestDomains(n, m)].map((domainSizes) =>
      lossProbability({ ...common, domainSizes, domainFailuresPerYear }, 1),
    ),
  ]
}

/** The rate at which an event comes that a year sees with this probability. */
function rateOf(probability: number): number {
  return -Math.log1p(-probability)
}

function describeLoss(loss: number, copies: number): string {
  if (loss < TOLD_MIN) return `< ${TOLD_MIN.toExponential(0)}`
  const times = loss / copies
  return `${loss.toExponential(1)} (${times >= 0.01 && times < 1000 ? Number(times.toPrecision(2)) : times.toExponential(0)})`
}
