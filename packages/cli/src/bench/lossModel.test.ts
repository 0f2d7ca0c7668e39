import { describe, expect, test } from 'vitest'
import { evenDomains, fewestDomains, lossProbability, type LossModel } from './lossModel.ts'

const DAYS_PER_YEAR = 365.25
const alone = (count: number): readonly number[] => Array.from({ length: count }, () => 1)
const independent = (k: number, m: number, failures: number, repairDays: number): LossModel => ({
  lossesMax: m,
  domainSizes: alone(k + m),
  nodeFailuresPerYear: failures,
  domainFailuresPerYear: 0,
  repairDays,
})

describe('the modelled loss', () => {
  test('of a single copy is that of its node', () => {
    expect(lossProbability(independent(1, 0, 0.3, 2), 1.5)).toBeCloseTo(1 - Math.exp(-0.45), 12)
  })

  test.each([
    { failures: 0.4, repairDays: 30 },
    { failures: 0.1, repairDays: 1 },
    { failures: 3, repairDays: 100 },
  ])('of two copies is the closed form: $failures a year, $repairDays days', ({ failures, repairDays }) => {
    const repairs = DAYS_PER_YEAR / repairDays
    const root = Math.sqrt(failures ** 2 + 6 * failures * repairs + repairs ** 2)
    const fast = (-(3 * failures + repairs) - root) / 2
    // The product of both is 2·failures²: the difference would lose its digits.
    const slow = (2 * failures ** 2) / fast
    const lost = -(fast * Math.expm1(slow) - slow * Math.expm1(fast)) / (fast - slow)
    expect(lossProbability(independent(1, 1, failures, repairDays), 1) / lost).toBeCloseTo(1, 8)
  })

  test.each([
    { k: 1, m: 2, failures: 0.1 },
    { k: 4, m: 2, failures: 1e-3 },
    { k: 10, m: 4, failures: 0.7 },
    { k: 29, m: 51, failures: 0.5 },
  ])('of $k+$m without repair is binomial', ({ k, m, failures }) => {
    const dead = -Math.expm1(-failures)
    let expected = 0
    for (let count = m + 1; count <= k + m; count++)
      expected += binomial(k + m, count) * dead ** count * (1 - dead) ** (k + m - count)
    expect(lossProbability(independent(k, m, failures, Number.POSITIVE_INFINITY), 1) / expected).toBeCloseTo(1, 8)
  })

  test.each([
    { k: 1, m: 2 },
    { k: 4, m: 2 },
    { k: 10, m: 4 },
  ])('of $k+$m with quick repair is the product of its rates', ({ k, m }) => {
    const failures = 0.01
    const repairs = DAYS_PER_YEAR / 0.1
    // n (n - 1) … (n - m) failures in a row, and m, m - 1, … 1 repairs that come too late.
    let expected = 1
    for (let lost = 0; lost <= m; lost++) expected *= (k + m - lost) * failures
    for (let lost = 1; lost <= m; lost++) expected /= lost * repairs
    expect(lossProbability(independent(k, m, failures, 0.1), 1) / expected).toBeCloseTo(1, 2)
  })

  test('where one domain holds all is that of the domain, and more where single nodes fail too', () => {
    const model = { lossesMax: 2, domainSizes: [6], domainFailuresPerYear: 0.2, repairDays: 1 }
    expect(lossProbability({ ...model, nodeFailuresPerYear: 0 }, 1)).toBeCloseTo(-Math.expm1(-0.2), 12)
    expect(lossProbability({ ...model, nodeFailuresPerYear: 0.1 }, 1)).toBeGreaterThan(-Math.expm1(-0.2))
  })

  test('with a domain for each node is that of nodes that fail as often as both together', () => {
    const both = { ...independent(4, 2, 0.3, 20), domainFailuresPerYear: 0.2 }
    const together = independent(4, 2, 0.5, 20)
    expect(lossProbability(both, 1) / lossProbability(together, 1)).toBeCloseTo(1, 10)
  })

  test('that cannot happen is 0', () => {
    expect(lossProbability(independent(4, 2, 0, 1), 1)).toBe(0)
  })

  test.each([
    { name: '4+2, a node each', lossesMax: 2, domainSizes: alone(6), domainFailuresPerYear: 0.5 },
    { name: '4+2 over three domains', lossesMax: 2, domainSizes: [2, 2, 2], domainFailuresPerYear: 0.5 },
    { name: '1+2 over two domains', lossesMax: 2, domainSizes: [2, 1], domainFailuresPerYear: 1 },
    { name: '10+4 over four domains', lossesMax: 4, domainSizes: [4, 4, 3, 3], domainFailuresPerYear: 0.4 },
    { name: '10+4, domains of three sizes', lossesMax: 4, domainSizes: [1, 5, 4, 4], domainFailuresPerYear: 0.1 },
  ])('is what many simulated years of single nodes show: $name', (how) => {
    const model: LossModel = { ...how, nodeFailuresPerYear: 0.8, repairDays: 60 }
    const runs = 20_000
    const chance = mulberry32(7)
    let lost = 0
    for (let run = 0; run < runs; run++) if (isLostInAYear(model, chance)) lost += 1
    const expected = lossProbability(model, 1)
    const deviation = Math.sqrt((expected * (1 - expected)) / runs)
    expect(expected).toBeGreaterThan(0.02)
    expect(Math.abs(lost / runs - expected)).toBeLessThan(4 * deviation)
  })
})

describe('domains of an object', () => {
  test('are as even as can be, and none is empty', () => {
    expect(evenDomains(14, 4)).toEqual([4, 4, 3, 3])
    expect(evenDomains(3, 4)).toEqual([1, 1, 1])
  })

  test('are as few as the most shards of one allow', () => {
    expect(fewestDomains(14, 4)).toEqual([4, 4, 4, 2])
    expect(fewestDomains(6, 2)).toEqual([2, 2, 2])
    expect(fewestDomains(80, 51)).toEqual([51, 29])
  })
})

/** Every node for itself, event after event: nothing here knows that nodes of a domain are alike. */
function isLostInAYear(model: LossModel, chance: () => number): boolean {
  const domainOf = model.domainSizes.flatMap((size, domain) => Array.from({ length: size }, () => domain))
  const isLost = domainOf.map(() => false)
  const repairs = DAYS_PER_YEAR / model.repairDays
  for (let years = 0; ;) {
    const nodeRate = isLost.map((lost) => (lost ? repairs : model.nodeFailuresPerYear))
    const rates = [...nodeRate, ...model.domainSizes.map(() => model.domainFailuresPerYear)]
    const total = rates.reduce((sum, rate) => sum + rate, 0)
    years -= Math.log(1 - chance()) / total
    if (years > 1) return false
    let left = chance() * total
    const event = rates.findIndex((rate) => (left -= rate) < 0)
    if (event < isLost.length) isLost[event] = !isLost[event]
    else domainOf.forEach((domain, node) => (isLost[node] ||= domain === event - isLost.length))
    if (isLost.filter(Boolean).length > model.lossesMax) return true
  }
}

function binomial(n: number, k: number): number {
  let value = 1
  for (let i = 1; i <= k; i++) value *= (n - k + i) / i
  return value
}

function mulberry32(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
