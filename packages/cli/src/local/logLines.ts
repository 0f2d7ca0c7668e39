import { open, type FileHandle } from 'node:fs/promises'

/** Logs are read in steps of this size. */
const STEP_BYTES = 64 * 1024
/** The end of a log that is searched for its last lines. */
const TAIL_BYTES_MAX = 4 * 1024 * 1024
/** A longer line is cut: it would be a mistake of the writer. */
const LINE_CHARACTERS_MAX = 16 * 1024

/** The last `count` lines of a log and the position behind them; nothing for a log that is not there. */
export async function tailLines(
  path: string,
  count: number,
): Promise<{ readonly lines: readonly string[]; readonly position: number }> {
  const file = await openOrNothing(path)
  if (file === undefined) return { lines: [], position: 0 }
  try {
    const { size } = await file.stat()
    const from = Math.max(0, size - TAIL_BYTES_MAX)
    const bytes = Buffer.alloc(size - from)
    const { bytesRead } = await file.read(bytes, 0, bytes.length, from)
    const text = bytes.toString('utf8', 0, bytesRead)
    const whole = text.lastIndexOf('\n') + 1
    const lines = text.slice(0, whole).split('\n').slice(0, -1)
    // Before the first line break there may be half a line.
    if (from > 0) lines.shift()
    const position = from + Buffer.byteLength(text.slice(0, whole))
    return { lines: count === 0 ? [] : lines.slice(-count).map(cut), position }
  } finally {
    await file.close()
  }
}

/** What was added since the last call. A log that was rotated away is read anew from its start. */
export function createFollower(path: string, position: number): { next(): Promise<readonly string[]> } {
  let at = position
  let identity: number | undefined
  let rest = ''
  return {
    async next() {
      const file = await openOrNothing(path)
      if (file === undefined) return []
      try {
        const { size, ino } = await file.stat()
        if (size < at || (identity !== undefined && identity !== ino)) [at, rest] = [0, '']
        identity = ino
        const lines: string[] = []
        while (at < size) {
          const step = Buffer.alloc(Math.min(STEP_BYTES, size - at))
          const { bytesRead } = await file.read(step, 0, step.length, at)
          if (bytesRead === 0) break
          // Whole characters only: what follows the last line break is read again with the next step.
          const end = step.lastIndexOf(0x0a, bytesRead - 1) + 1
          if (end === 0) {
            if (bytesRead < STEP_BYTES) break
            rest = cut(rest + step.toString('utf8', 0, bytesRead))
            at += bytesRead
            continue
          }
          const parts = (rest + step.toString('utf8', 0, end)).split('\n')
          rest = ''
          lines.push(...parts.slice(0, -1).map(cut))
          at += end
        }
        return lines
      } finally {
        await file.close()
      }
    },
  }
}

/** One line of a log as a person reads it: JSON events become `time level event facts`; anything else stays as it is. */
export function renderLine(line: string): string {
  let event: { [name: string]: unknown }
  try {
    event = JSON.parse(line) as { [name: string]: unknown }
  } catch {
    return line
  }
  if (typeof event !== 'object' || event === null) return line
  const { time, level, event: name, ...fields } = event
  const facts = Object.entries(fields).map(([key, value]) => `${key}=${shown(value)}`)
  return [timeOf(time), shown(level ?? '').padEnd(5), shown(name ?? ''), ...facts].join(' ')
}

/** Of any depth: what a log says may come from anybody. */
function shown(value: unknown): string {
  if (typeof value === 'string') return value
  try {
    return JSON.stringify(value) ?? String(value)
  } catch {
    return '…'
  }
}

/** Milliseconds of a line, for merging logs; `undefined` where a line says nothing about time. */
export function timeOfLine(line: string): number | undefined {
  const ms = Date.parse(/"time":"([^"]{10,40})"/.exec(line)?.[1] ?? '')
  return Number.isFinite(ms) ? ms : undefined
}

function timeOf(time: unknown): string {
  const ms = typeof time === 'string' ? Date.parse(time) : Number.NaN
  return Number.isFinite(ms) ? new Date(ms).toISOString().slice(11, 23) : '--:--:--.---'
}

function cut(line: string): string {
  return line.length > LINE_CHARACTERS_MAX ? `${line.slice(0, LINE_CHARACTERS_MAX)}…` : line
}

async function openOrNothing(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, 'r')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
