import { closeSync, fstatSync, ftruncateSync, openSync, renameSync, writeSync } from 'node:fs'
import type { Logger, LogFields } from '@weightless/core'
import { isFailure, toHex } from '@weightless/core'
import { pino } from 'pino'
import type { DestinationStream, Logger as PinoLogger } from 'pino'

/** JSON lines `{ level, time, event, ...fields }` to standard error, or to a file of mode 600 that is moved to `FILE.1` when it
 *  is full. Values under names of secrets never reach the line. Lines are written at once: the last ones before a crash are
 *  the ones that matter. */
export function createLogger(options: LoggerOptions): Logger {
  const destination =
    options.file === undefined ? lineWriter(2) : rotatingFile(options.file, options.fileBytesMax ?? FILE_BYTES_MAX)
  const base = pino(
    {
      level: options.level,
      base: null,
      messageKey: 'event',
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination,
  )
  return wrap(options.fields === undefined ? base : base.child(cleaned(options.fields, 0)))
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'
export type LoggerOptions = {
  readonly level: LogLevel
  /** Default: standard error. */
  readonly file?: string | undefined
  /** A full file and the one before it are kept. */
  readonly fileBytesMax?: number | undefined
  readonly fields?: LogFields | undefined
}

/** A node at level info writes about 1 MB a day; two files of this size are weeks of trouble. */
const FILE_BYTES_MAX: number = 64 * 1024 ** 2
/** Fields are flat by rule; what nests deeper is cut, not followed. */
const DEPTH_MAX = 4
const TEXT_LENGTH_MAX = 4_000
const ITEMS_MAX = 100
const SECRET = /^(private_?key|secret|token|password|passphrase|mnemonic|api_?key|authorization)$/i

function wrap(logger: PinoLogger): Logger {
  return {
    debug: (event, fields) => write(logger, 'debug', event, fields),
    info: (event, fields) => write(logger, 'info', event, fields),
    warn: (event, fields) => write(logger, 'warn', event, fields),
    error: (event, fields) => write(logger, 'error', event, fields),
    child: (fields) => wrap(logger.child(cleaned(fields, 0))),
  }
}

function write(logger: PinoLogger, level: LogLevel, event: string, fields: LogFields | undefined): void {
  if (!logger.isLevelEnabled(level)) return
  if (fields === undefined) logger[level](event)
  else logger[level](cleaned(fields, 0), event)
}

function cleaned(fields: object, depth: number): Record<string, unknown> {
  const out: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(fields).slice(0, ITEMS_MAX)) {
    out[name] = SECRET.test(name) ? '[secret]' : plain(value, depth)
  }
  return out
}

function plain(value: unknown, depth: number): unknown {
  if (typeof value === 'bigint') return value.toString()
  if (typeof value === 'string') return value.length > TEXT_LENGTH_MAX ? `${value.slice(0, TEXT_LENGTH_MAX)}...` : value
  if (typeof value !== 'object' || value === null) return value
  if (isFailure(value))
    return { code: value.code, ...cleaned(value.facts, depth + 1), cause: plain(value.cause, depth + 1) }
  if (value instanceof Error)
    return { name: value.name, message: value.message, stack: value.stack, cause: plain(value.cause, depth + 1) }
  if (value instanceof Uint8Array) return value.length <= 64 ? toHex(value) : `${value.length} bytes`
  if (depth >= DEPTH_MAX) return '[deeper]'
  if (Array.isArray(value)) return value.slice(0, ITEMS_MAX).map((item) => plain(item, depth + 1))
  return cleaned(value, depth + 1)
}

function lineWriter(descriptor: number): DestinationStream {
  return { write: (line) => writeLine(descriptor, line) }
}

function rotatingFile(path: string, sizeBytesMax: number): DestinationStream {
  let descriptor = openSync(path, 'a', 0o600)
  let sizeBytes = fstatSync(descriptor).size
  return {
    write(line) {
      const lineBytes = Buffer.byteLength(line)
      if (sizeBytes > 0 && sizeBytes + lineBytes > sizeBytesMax) {
        // Somebody else may have cut it, or write to it as well.
        sizeBytes = fstatSync(descriptor).size
        if (sizeBytes + lineBytes > sizeBytesMax) descriptor = moveAside(path, descriptor)
        sizeBytes = fstatSync(descriptor).size
      }
      writeLine(descriptor, line)
      sizeBytes += lineBytes
    },
  }
}

/** The descriptor of a new file. Where none can be made (the directory was deleted, the disk is full) the old one is emptied: the
 *  log stays bounded, and a log never ends a process. */
function moveAside(path: string, full: number): number {
  try {
    renameSync(path, `${path}.1`)
    const next = openSync(path, 'a', 0o600)
    closeSync(full)
    return next
  } catch {
    ftruncateSync(full)
    return full
  }
}

/** A full disk or a closed pipe must not end a node for the sake of a log line. */
function writeLine(descriptor: number, line: string): void {
  try {
    writeSync(descriptor, line)
  } catch {
    // Nowhere left to say it.
  }
}
