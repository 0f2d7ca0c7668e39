import type { Hex } from '@weightless/core'

/** Characters of hex that are kept at most: a full pool of ordinary transactions is a twentieth of it. What is forgotten can be
 *  asked from the engine while that lives, and must be sent again by its sender when it does not. */
const POOL_CHARS_MAX: number = 64 * 1024 ** 2

/** The raw text of what the engine has accepted and no block on disk holds: the journal writes it down, and an engine that comes
 *  back gets it again. */
export function createPool(): Pool {
  const raws = new Map<Hex, Hex>()
  let chars = 0
  const remove = (hash: Hex): void => {
    chars -= raws.get(hash)?.length ?? 0
    raws.delete(hash)
  }
  return {
    get: (hash) => raws.get(hash),
    add(hash, raw) {
      remove(hash)
      raws.set(hash, raw)
      chars += raw.length
      for (const oldest of raws.keys()) {
        if (chars <= POOL_CHARS_MAX) break
        remove(oldest)
      }
    },
    remove,
    all: () => [...raws],
  }
}

export type Pool = {
  get(hash: Hex): Hex | undefined
  add(hash: Hex, raw: Hex): void
  remove(hash: Hex): void
  /** In the order of their arrival. */
  all(): readonly (readonly [Hex, Hex])[]
}
