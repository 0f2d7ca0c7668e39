/** Runs of a property: 100 by default, FC_NUM_RUNS raises or lowers all of them together. `share` scales one that is slow. */
export function runs(share = 1): { numRuns: number } {
  return { numRuns: Math.max(1, Math.round(Number(process.env['FC_NUM_RUNS'] ?? 100) * share)) }
}
