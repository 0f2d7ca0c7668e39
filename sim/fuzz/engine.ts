import { isFailure } from '@weightless/core'
import { crc32 } from '@weightless/host'
import { RpcFault } from '../../packages/node/src/zgs/fault.ts'
import { createChance } from '../chance.ts'
import type { Coverage } from './coverage.ts'
import { mutate, type InputKind } from './mutate.ts'

/** A parser of bytes from outside, and what it must hold to whatever the bytes are. */
export type FuzzTarget = {
  readonly name: string
  /** Whose bytes these are. */
  readonly from: string
  readonly kind: InputKind
  /** Good inputs: the mutations start from them. */
  readonly corpus: readonly (Uint8Array | string)[] | (() => Promise<readonly (Uint8Array | string)[]>)
  /** Words that a good input is made of. */
  readonly words?: readonly string[]
  /** Gives a short word for what came out ("ok", an error code). Throws for what must not happen: an error without a code, an
   *  answer that another reader of the same bytes would not give. */
  run(input: Uint8Array): string | Promise<string>
  /** One input costs as much as some hundred of a plain parser: it gets a tenth of the inputs. */
  readonly isWhole?: boolean
  /** Lets go of what `run` has built. */
  close?(): Promise<void>
}

export type FuzzOptions = {
  readonly inputs: number
  readonly seed: number
  /** `INPUT_MS_MAX` by default. */
  readonly inputMsMax?: number
  /** Inputs that reach new code are kept and mutated on, while it counts; those with a new outcome always are. */
  readonly coverage?: Coverage | undefined
  readonly onProgress?: (done: number) => void
}

export type FuzzResult = {
  readonly name: string
  readonly inputs: number
  readonly seconds: number
  /** Inputs by what came out. */
  readonly outcomes: ReadonlyMap<string, number>
  /** Inputs that were kept because they did something new. */
  readonly keptCount: number
  readonly slowestMs: number
  /** Growth of the most memory that the process ever held. */
  readonly grownBytes: number
  readonly finding: Finding | undefined
}
export type Finding = { readonly reason: string; readonly number: number; readonly input: Uint8Array }

/** Longer than this for at most 64 KiB is a hang. What waits and does not work is found by whoever watches the progress. */
export const INPUT_MS_MAX = 3_000
/** An input of 64 KiB may cost some hundred times its size; and the engine itself keeps inputs. */
export const GROWN_BYTES_MAX: number = 256 * 1024 ** 2
const KEPT_MAX = 2_000
/** Inputs between two looks at the coverage: a look costs as much as a thousand cheap inputs. */
const BATCH = 256
/** Counting makes everything five times as slow, and little that is new is found after a while: then what was kept is changed on
 *  at full speed. */
const GUIDED_MIN = 10_000
const GUIDED_PART = 50
/** Outcomes beside which a new one is no news. */
const OUTCOMES_MAX = 300

export async function fuzz(target: FuzzTarget, options: FuzzOptions): Promise<FuzzResult> {
  const { inputs, seed, inputMsMax = INPUT_MS_MAX } = options
  let { coverage } = options
  const guidedInputs = Math.max(GUIDED_MIN, inputs / GUIDED_PART)
  const chance = createChance(seed)
  const encoder = new TextEncoder()
  const good = typeof target.corpus === 'function' ? await target.corpus() : target.corpus
  const corpus = good.map((one) => (typeof one === 'string' ? encoder.encode(one) : one))
  const words = (target.words ?? []).map((word) => encoder.encode(word))
  const outcomes = new Map<string, number>()
  const startedMs = performance.now()
  let slowestMs = 0
  let keptCount = 0
  let number = 0
  let finding: Finding | undefined

  const keep = (input: Uint8Array): void => {
    keptCount += 1
    // The good inputs at the start are never pushed out.
    if (corpus.length >= good.length + KEPT_MAX) corpus[good.length + chance.below(KEPT_MAX)] = input.slice()
    else corpus.push(input.slice())
  }
  const tryOne = async (input: Uint8Array): Promise<boolean> => {
    const beforeMs = performance.now()
    let word: string
    try {
      const given = target.run(input)
      word = typeof given === 'string' ? given : await given
    } catch (error) {
      finding = { reason: describe(error), number, input: input.slice() }
      return false
    }
    let ms = performance.now() - beforeMs
    if (ms > inputMsMax) {
      // A machine that does something else may have held this process up: now by what the process itself takes.
      const before = process.cpuUsage()
      await target.run(input)
      ms = cpuMs(before)
    }
    slowestMs = Math.max(slowestMs, ms)
    if (ms > inputMsMax) {
      finding = { reason: `took ${ms.toFixed(0)} ms`, number, input: input.slice() }
      return false
    }
    const count = outcomes.get(word)
    if (count === undefined && outcomes.size < OUTCOMES_MAX) keep(input)
    outcomes.set(word, (count ?? 0) + 1)
    return true
  }

  for (const input of corpus.slice()) if (!(await tryOne(input))) break
  coverage?.look()
  const peakBytes = process.resourceUsage().maxRSS * 1024
  let batch: Uint8Array[] = []
  while (number < inputs && finding === undefined) {
    const input = mutate(corpus, { kind: target.kind, words, chance })
    number += 1
    await tryOne(input)
    if (number > guidedInputs && coverage !== undefined) {
      coverage.close()
      coverage = undefined
    }
    if (coverage !== undefined) {
      batch.push(input)
      if (batch.length === BATCH) {
        if (coverage.look()) {
          // One of them: each is run again by itself.
          for (const one of batch) {
            if (!(await tryOne(one))) break
            if (coverage.look('again')) keep(one)
          }
        }
        batch = []
      }
    }
    if (number % 1_000 === 0) {
      options.onProgress?.(number)
      const grownBytes = process.resourceUsage().maxRSS * 1024 - peakBytes
      if (grownBytes > GROWN_BYTES_MAX)
        finding ??= { reason: `the process grew by ${grownBytes} bytes`, number, input: input.slice() }
      // Cheap targets never wait for anything; others have their turn here.
      await new Promise((next) => setImmediate(next))
    }
  }
  return {
    name: target.name,
    inputs: number,
    seconds: (performance.now() - startedMs) / 1000,
    outcomes,
    keptCount,
    slowestMs,
    grownBytes: Math.max(0, process.resourceUsage().maxRSS * 1024 - peakBytes),
    finding,
  }
}

/** What this process has taken of the processor since `before`. */
export function cpuMs(before: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000
}

/** "ok", or the code of the failure that refuses the input. Any other error is a bug and goes on to the engine. */
export function outcomeOf(read: () => unknown): string {
  try {
    read()
    return 'ok'
  } catch (error) {
    return codeOf(error)
  }
}

export async function laterOutcomeOf(read: () => Promise<unknown>): Promise<string> {
  try {
    await read()
    return 'ok'
  } catch (error) {
    return codeOf(error)
  }
}

function codeOf(error: unknown): string {
  if (isFailure(error)) return `${error.code} ${String(error.facts['reason'] ?? '').slice(0, 40)}`.trim()
  if (error instanceof RpcFault && error.code !== -32603) return `${error.code} ${error.message.slice(0, 40)}`
  throw error
}

/** One input in `count`, for what costs more than the parser: chosen by its bytes, so that a finding run alone is one again. */
export function isSample(input: Uint8Array, count: number): boolean {
  return crc32(input) % count === 0
}

/** A promise of the target that was broken. */
export function insist(isSo: boolean, statement: string): asserts isSo {
  if (!isSo) throw new Error(`broken: ${statement}`)
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message).split('\n').slice(0, 4).join(' | ') : String(error)
}
