import { createHash } from 'node:crypto'

/** Everything that happens in a world, in order, as one hash: equal hashes mean equal runs. */
export type Trace = {
  add(...words: readonly (string | number)[]): void
  hash(): string
  readonly count: number
  /** Whether lines are told to somebody. */
  readonly isKept: boolean
  /** A line for a reader; not part of the hash. */
  say(...words: readonly unknown[]): void
}

/** What is put into the hash at once. */
const BATCH_CHARACTERS = 65_536

export function createTrace(nowMs: () => number, tell?: (line: string) => void): Trace {
  const hash = createHash('sha256')
  let batch = ''
  let count = 0
  let [shownMs, shownTime] = [NaN, '']
  return {
    isKept: tell !== undefined,
    get count() {
      return count
    },
    add(...words) {
      count += 1
      const ms = nowMs()
      if (ms !== shownMs) [shownMs, shownTime] = [ms, ms.toFixed(3)]
      const line = `${shownTime} ${words.join(' ')}\n`
      batch += line
      if (batch.length >= BATCH_CHARACTERS) {
        hash.update(batch)
        batch = ''
      }
      tell?.(line.slice(0, -1))
    },
    hash: () => hash.copy().update(batch).digest('hex'),
    say: (...words) => tell?.(`${nowMs().toFixed(3)} · ${words.map(shown).join(' ')}`),
  }
}

function shown(value: unknown): string {
  if (typeof value === 'string') return value
  return JSON.stringify(value, (_, inner: unknown) => {
    if (typeof inner === 'bigint') return String(inner)
    if (inner instanceof Error) return Object.assign({}, inner, { message: inner.message, cause: inner.cause })
    return inner
  })
}
