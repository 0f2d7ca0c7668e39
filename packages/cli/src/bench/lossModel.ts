/** What an object is exposed to: a chain of states in continuous time, each state being how many shards of each failure domain
 *  are lost at the moment. All times between events are exponential. docs/bench/durability.md has the equations. */
export type LossModel = {
  /** Shards that may be lost: one more at the same time and the object is gone. */
  readonly lossesMax: number
  /** Shards in each failure domain, each on a node of its own; their sum is k + m. */
  readonly domainSizes: readonly number[]
  /** Rate at which one node loses all it has, for good. */
  readonly nodeFailuresPerYear: number
  /** Rate at which all nodes of one domain lose all they have at once. */
  readonly domainFailuresPerYear: number
  /** Mean time from the loss of a shard until it is stored again elsewhere; `Infinity`: nobody repairs. */
  readonly repairDays: number
}

/** Probability that the object is lost within `years`, all shards being there at the start. The transient of the chain by
 *  uniformisation: every term is positive, so the smallest result is as exact, relative to itself, as a large one. */
export function lossProbability(model: LossModel, years: number): number {
  const { starts, targets, chances, losses, jumpsPerYear } = chainOf(model)
  const jumps = jumpsPerYear * years
  if (jumps === 0) return 0
  let now: Float64Array = new Float64Array(losses.length)
  let next: Float64Array = new Float64Array(losses.length)
  now[0] = 1
  let lost = 0
  let total = 0
  // Of the number of jumps within the time, which is Poisson; in logarithms, since e^-jumps is far below the smallest double.
  let logWeight = -jumps
  const stepsMax = Math.ceil(jumps + DEVIATIONS * Math.sqrt(jumps)) + 2 * model.lossesMax + STEPS_MIN
  for (let step = 1; step <= stepsMax; step++) {
    next.fill(0)
    for (let state = 0; state < losses.length; state++) {
      const chance = now[state]!
      if (chance === 0) continue
      lost += chance * losses[state]!
      for (let i = starts[state]!; i < starts[state + 1]!; i++) next[targets[i]!]! += chance * chances[i]!
    }
    ;[now, next] = [next, now]
    logWeight += Math.log(jumps / step)
    total += Math.exp(logWeight) * lost
  }
  return Math.min(1, total)
}

/** Jumps beyond the mean that are still looked at, in standard deviations. */
const DEVIATIONS = 12
const STEPS_MIN = 60

/** An object of `shardCount` shards over so many domains, as evenly as can be. */
export function evenDomains(shardCount: number, domainCount: number): readonly number[] {
  const sizes = Array.from(
    { length: domainCount },
    (_, i) => Math.floor(shardCount / domainCount) + (i < shardCount % domainCount ? 1 : 0),
  )
  return sizes.filter((size) => size > 0)
}

/** Over as few domains as hold no more than `shardsMax` each: the worst that the rule of placement allows. */
export function fewestDomains(shardCount: number, shardsMax: number): readonly number[] {
  const sizes = Array.from({ length: Math.floor(shardCount / shardsMax) }, () => shardsMax)
  const rest = shardCount % shardsMax
  return rest === 0 ? sizes : [...sizes, rest]
}

/** The chain in jumps of one clock: in each jump, from state s, with `chances[i]` to `targets[i]` for i from `starts[s]` to below
 *  `starts[s + 1]`, and with `losses[s]` into the loss. State 0 has everything. */
type Chain = {
  readonly starts: Int32Array
  readonly targets: Int32Array
  readonly chances: Float64Array
  readonly losses: Float64Array
  readonly jumpsPerYear: number
}

const DAYS_PER_YEAR = 365.25

function chainOf(model: LossModel): Chain {
  const { domainSizes, lossesMax } = model
  // Domains of one size are alike, so a state is sorted within each size: largest sizes first, in each the most lost first.
  const sizes = [...domainSizes].sort((a, b) => b - a)
  const states: (readonly number[])[] = [sizes.map(() => 0)]
  const indexes = new Map<string, number>([[states[0]!.join(), 0]])
  const rates: Map<number, number>[] = []
  const lossRates: number[] = []
  for (let at = 0; at < states.length; at++) {
    const onward = new Map<number, number>()
    let lossRate = 0
    for (const { lost, rate } of eventsOf(model, sizes, states[at]!)) {
      if (lost.reduce((sum, count) => sum + count, 0) > lossesMax) {
        lossRate += rate
        continue
      }
      const sorted = sortWithin(sizes, lost)
      const key = sorted.join()
      let index = indexes.get(key)
      if (index === undefined) {
        index = states.length
        indexes.set(key, index)
        states.push(sorted)
      }
      onward.set(index, (onward.get(index) ?? 0) + rate)
    }
    rates.push(onward)
    lossRates.push(lossRate)
  }
  return uniform(rates, lossRates)
}

type Event = { readonly lost: readonly number[]; readonly rate: number }

function eventsOf(model: LossModel, sizes: readonly number[], lost: readonly number[]): readonly Event[] {
  const { nodeFailuresPerYear, domainFailuresPerYear, repairDays } = model
  const repairsPerYear = DAYS_PER_YEAR / repairDays
  const to = (domain: number, count: number): readonly number[] => lost.map((old, i) => (i === domain ? count : old))
  return sizes
    .flatMap((size, domain): Event[] => {
      const gone = lost[domain]!
      if (gone === size) return [{ lost: to(domain, gone - 1), rate: gone * repairsPerYear }]
      return [
        { lost: to(domain, gone + 1), rate: (size - gone) * nodeFailuresPerYear },
        { lost: to(domain, size), rate: domainFailuresPerYear },
        ...(gone === 0 ? [] : [{ lost: to(domain, gone - 1), rate: gone * repairsPerYear }]),
      ]
    })
    .filter(({ rate }) => rate > 0)
}

function sortWithin(sizes: readonly number[], lost: readonly number[]): readonly number[] {
  return lost
    .map((count, i) => ({ count, size: sizes[i]! }))
    .sort((a, b) => b.size - a.size || b.count - a.count)
    .map(({ count }) => count)
}

function uniform(rates: readonly ReadonlyMap<number, number>[], lossRates: readonly number[]): Chain {
  const outRates = rates.map((onward, state) =>
    [...onward.values()].reduce((sum, rate) => sum + rate, lossRates[state]!),
  )
  const jumpsPerYear = outRates.reduce((most, rate) => Math.max(most, rate), 0)
  const starts = new Int32Array(rates.length + 1)
  const targets: number[] = []
  const chances: number[] = []
  rates.forEach((onward, state) => {
    targets.push(state)
    chances.push(1 - outRates[state]! / jumpsPerYear)
    for (const [target, rate] of onward) {
      targets.push(target)
      chances.push(rate / jumpsPerYear)
    }
    starts[state + 1] = targets.length
  })
  return {
    starts,
    targets: Int32Array.from(targets),
    chances: Float64Array.from(chances),
    losses: Float64Array.from(lossRates, (rate) => rate / jumpsPerYear),
    jumpsPerYear,
  }
}
