import type { Lab } from './lab.ts'

/** One measurement: what it compares, and how. Results are read side by side, so each runs its peer in the same run. */
export type Scenario = { readonly name: string; readonly about: string; run(lab: Lab): Promise<Outcome> }

export type Outcome = {
  readonly columns: readonly string[]
  readonly rows: readonly (readonly (string | number)[])[]
  /** Ratios, bars, and what the limit is. */
  readonly notes: readonly string[]
}

export const MIB: number = 1024 ** 2

export function rate(sizeBytes: number, ms: number): string {
  return `${(sizeBytes / MIB / (ms / 1000)).toFixed(1)} MiB/s`
}

export function times(ours: number, theirs: number): string {
  return `${(theirs / ours).toFixed(1)} x`
}

/** The value below which `share` of them lie, by nearest rank. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN
}

export function medianOf(values: readonly number[]): number {
  return percentile(values, 0.5)
}
