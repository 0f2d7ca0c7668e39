/** Values made once and kept while they are among the last `max` that were asked for. */
export function createRecent<T>(max: number): { get(key: string, make: () => T): T } {
  const values = new Map<string, T>()
  return {
    get(key, make) {
      const value = values.get(key) ?? make()
      // A Map keeps the order of insertion: the first is the one that was not asked for longest.
      values.delete(key)
      values.set(key, value)
      if (values.size > max) values.delete(values.keys().next().value!)
      return value
    },
  }
}
