/** The first few: whoever submits many of something makes nobody read them all. */
export function firstOf<T>(all: Iterable<T>, countMax: number): readonly T[] {
  const first: T[] = []
  for (const one of all) {
    if (first.length === countMax) break
    first.push(one)
  }
  return first
}
