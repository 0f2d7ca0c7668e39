/** The twin of core's `invariant`: kernels import nothing. */
export function check(condition: boolean, statement: string): void {
  if (!condition) throw new RangeError(`kernels: broken: ${statement}`)
}
