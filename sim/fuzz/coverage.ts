import { Session, type Profiler } from 'node:inspector'

/** Which parts of our sources have run: V8's own block coverage, so that nothing has to be instrumented or installed. */
export type Coverage = {
  /** True when a part ran since the last look that never ran before. `again`: only the inputs of one batch are run once more, and
   *  what their batch reached for the first time counts as new once more. */
  look(how?: 'again'): boolean
  readonly seenCount: number
  close(): void
}

export function startCoverage(): Coverage {
  const session = new Session()
  session.connect()
  const ask = <T>(method: string, params?: object): T => {
    let answer: T | undefined
    session.post(
      method as 'Profiler.enable',
      params as never,
      ((_: Error | null, result: T) => (answer = result)) as never,
    )
    return answer as T
  }
  ask('Profiler.enable')
  ask('Profiler.startPreciseCoverage', { callCount: true, detailed: true })
  const seen = new Set<string>()
  /** Of the last batch that reached something new: each of its parts is credited to the first input that reaches it again. */
  let fresh = new Set<string>()

  function hits(): string[] {
    const { result } = ask<Profiler.TakePreciseCoverageReturnType>('Profiler.takePreciseCoverage')
    const parts: string[] = []
    for (const script of result) {
      if (!script.url.startsWith('file:')) continue
      for (const { ranges } of script.functions) {
        for (const { startOffset, endOffset, count } of ranges)
          if (count > 0) parts.push(`${script.scriptId}:${startOffset}-${endOffset}`)
      }
    }
    return parts
  }

  return {
    look(how) {
      const parts = hits()
      if (how === 'again') {
        const own = parts.filter((part) => fresh.has(part))
        for (const part of own) fresh.delete(part)
        return own.length > 0
      }
      fresh = new Set(parts.filter((part) => !seen.has(part)))
      for (const part of fresh) seen.add(part)
      return fresh.size > 0
    },
    get seenCount() {
      return seen.size
    },
    close() {
      ask('Profiler.stopPreciseCoverage')
      session.disconnect()
    },
  }
}
