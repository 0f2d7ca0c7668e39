import { isFailure, parseCode, parseRoot, preview, type Root } from '@weightless/core'
import { fail } from './errors.ts'

/** Storage nodes of one local network: each is a process of up to 120 MB. 29+51 takes eighty, and some to replace them. */
export const LOCAL_NODES_MAX = 96
/** Roots in one `get`: official clients cut files into fragments of 4 GiB, so this is 4 TiB. */
export const FRAGMENTS_MAX = 1024
/** A day: no command of ours waits longer. */
const TIMEOUT_SECONDS_MAX = 86_400
/** Ports that `up` counts from its base: chain, gateway, admin, then storage nodes from 10 on. */
const PORTS_ABOVE_BASE = 10 + 4096

export type ByteRange = { readonly start: number; readonly end: number | undefined }

/** A whole number in plain decimal digits: `1e3`, `0x10` and ` 7` are mistakes here. Throws `USAGE`. */
export function parseWhole(
  text: string,
  options: { readonly name: string; readonly min: number; readonly max: number },
): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
  if (value >= options.min && value <= options.max) return value
  throw fail('USAGE', {
    reason: `${options.name} is a whole number from ${options.min} to ${options.max}`,
    value: preview(text),
  })
}

export function parseNodeCount(text: string): number {
  return parseWhole(text, { name: '--nodes', min: 1, max: LOCAL_NODES_MAX })
}

/** 0 asks for any free ports. */
export function parsePortBase(text: string): number {
  const value = parseWhole(text, { name: '--port-base', min: 0, max: 65_535 - PORTS_ABOVE_BASE })
  if (value === 0 || value >= 1024) return value
  throw fail('USAGE', { reason: '--port-base is 0 or at least 1024: lower ports belong to the system', value })
}

export function parseSeconds(text: string): number {
  return parseWhole(text, { name: '--timeout', min: 1, max: TIMEOUT_SECONDS_MAX })
}

/** Shorter than the pause between two blocks of a chain under load, living nodes would look silent. */
export function parseGrace(text: string): number {
  return parseWhole(text, { name: '--grace', min: 2, max: 86_400 })
}

export function parseLineCount(text: string): number {
  return parseWhole(text, { name: '--lines', min: 0, max: 100_000 })
}

export function parseListLimit(text: string): number {
  return parseWhole(text, { name: '--limit', min: 1, max: 100_000 })
}

export function parseSequence(text: string): number {
  return parseWhole(text, { name: '--after', min: 0, max: 2 ** 48 })
}

export function parseLosses(text: string): number {
  return parseWhole(text, { name: '--losses', min: 0, max: 255 })
}

/** `4+2`: k data and m parity; or `none`. Throws `USAGE`. */
export function parseCodeName(text: string): string {
  if (text === 'none') return text
  try {
    const { k, m } = parseCode(text)
    return `${k}+${m}`
  } catch (cause) {
    if (!isFailure(cause)) throw cause
    throw fail(
      'USAGE',
      { reason: '--code is k+m, such as 4+2, with k + m up to 256, or none', value: preview(text) },
      { cause },
    )
  }
}

/** `ROOT` or `ROOT,ROOT,...`: fragments of one file in their order. Throws `USAGE`. */
export function parseRoots(text: string): readonly Root[] {
  const parts = text.split(',')
  if (parts.length > FRAGMENTS_MAX)
    throw fail('USAGE', { reason: `at most ${FRAGMENTS_MAX} roots at once`, count: parts.length })
  return parts.map((part) => {
    try {
      return parseRoot(part.trim())
    } catch (cause) {
      throw fail('USAGE', { reason: 'a root is 0x and 64 hex digits', value: preview(part) }, { cause })
    }
  })
}

/** `A-B`: bytes A to B, both included, counted from 0, as in HTTP; `A-`: from A to the end. The result's `end` is exclusive. */
export function parseRange(text: string): ByteRange {
  const match = /^(\d{1,15})-(\d{1,15})?$/.exec(text)
  if (match === null)
    throw fail('USAGE', { reason: '--range is A-B or A-, in bytes counted from 0', value: preview(text) })
  const start = Number(match[1])
  const end = match[2] === undefined ? undefined : Number(match[2]) + 1
  if (end !== undefined && end <= start) throw fail('USAGE', { reason: 'the range ends before it starts', value: text })
  return { start, end }
}
