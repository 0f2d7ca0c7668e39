import { Failure, isFailure } from '@weightless/core'
import { fail } from './errors.ts'

/** Where a command speaks: results on stdout, everything else on stderr. */
export type Printer = {
  readonly json: boolean
  /** The one result of a command: a JSON document with `--json`, else the text that `human` makes. */
  result(document: unknown, human: () => string): void
  /** A line for the person who waits; on stderr, so that a pipe stays clean. */
  note(line: string): void
  /** The one error of a command: `{"error": …}` on stdout with `--json`, else text on stderr. */
  failure(error: Failure): void
}

/** Sinks are replaceable for tests only. */
export function createPrinter(
  options: { readonly json: boolean },
  sinks: { readonly out: (text: string) => void; readonly err: (text: string) => void } = {
    out: (text) => console.log(text),
    err: (text) => console.error(text),
  },
): Printer {
  return {
    json: options.json,
    result: (document, human) => sinks.out(options.json ? toJson(document) : human()),
    note: (line) => sinks.err(line),
    failure: (error) => {
      if (options.json) sinks.out(toJson({ error: { ...error.toJSON(), causes: causesOf(error) } }))
      else sinks.err(describeFailure(error))
    },
  }
}

/** One JSON document; bigints as decimal strings. */
export function toJson(document: unknown): string {
  return JSON.stringify(document, (_, value: unknown) => (typeof value === 'bigint' ? value.toString() : value), 2)
}

/** Columns of equal width; the last one is never padded. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = []
  for (const row of rows) row.forEach((cell, column) => (widths[column] = Math.max(widths[column] ?? 0, cell.length)))
  return rows
    .map((row) =>
      row.map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column]!))).join('  '),
    )
    .join('\n')
}

/** 1024-based, three digits: 999 B, 1.00 KiB, 95.4 MiB. */
export function formatBytes(sizeBytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let value = sizeBytes
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit += 1
  }
  return unit === 0 ? `${value} B` : `${value.toPrecision(value >= 1000 ? 4 : 3)} ${units[unit]}`
}

/** Whatever was thrown, as a `Failure` that can be printed. What the file system refuses has a code of its own, other
 *  strangers become `BUG`, with their message as a fact. */
export function toFailure(error: unknown): Failure {
  if (isFailure(error)) return error
  if (error instanceof Error && error.name === 'AbortError' && isFailure(error.cause)) return error.cause
  const reason = error instanceof Error ? error.message : String(error)
  const { code = '', path } = (error ?? {}) as NodeJS.ErrnoException
  if (NO_ROOM.has(code)) return fail('NO_ROOM', { path, reason }, { cause: error })
  if (REFUSALS.has(code)) return fail('FILE_REFUSED', { path, reason }, { cause: error })
  return fail('BUG', { reason, at: error instanceof Error ? firstFrame(error) : undefined }, { cause: error })
}

/** What the machine says, and no fault of ours. */
const NO_ROOM: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT'])
const REFUSALS: ReadonlySet<string> = new Set(['EACCES', 'EPERM', 'EROFS', 'EIO'])

function describeFailure(error: Failure): string {
  const facts = Object.entries(error.facts)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `  ${name}: ${String(value)}`)
  return [
    `error ${error.code}`,
    ...facts,
    ...causesOf(error).map((cause) => `  because: ${cause}`),
    `  next: ${error.next}`,
  ].join('\n')
}

/** What led to an error, outermost first. A chain of ours is short; five keeps a cycle from going on for ever. */
function causesOf(error: Error): readonly string[] {
  const causes: string[] = []
  for (let cause = error.cause; cause instanceof Error && causes.length < 5; cause = cause.cause) {
    causes.push(isFailure(cause) || cause.name === 'Error' ? cause.message : `${cause.name}: ${cause.message}`)
  }
  return causes
}

function firstFrame(error: Error): string | undefined {
  const frame = error.stack?.split('\n').find((line) => line.trimStart().startsWith('at '))
  // The place in our bundle, never a path of this machine.
  return frame === undefined ? undefined : /([^/\\(]+:\d+:\d+)\)?$/.exec(frame)?.[1]
}
