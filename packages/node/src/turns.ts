/** Work on the same thing one after the other, in the order in which it was asked for; work on different things side by side. What failed
 *  holds up nobody. */
export type Turns<K> = <T>(key: K, work: () => Promise<T>) => Promise<T>

export function createTurns<K>(): Turns<K> {
  const last = new Map<K, Promise<unknown>>()
  return async (key, work) => {
    const before = last.get(key) ?? Promise.resolve()
    const own = before.catch(() => undefined).then(work)
    last.set(key, own)
    try {
      return await own
    } finally {
      if (last.get(key) === own) last.delete(key)
    }
  }
}
