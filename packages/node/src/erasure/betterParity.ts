import { chooseParity } from '@weightless/core'
import { firstOf } from '../firstOf.ts'
import type { ParityIndex } from '../flow/parities.ts'
import { codedEntryOf, type CodedEntry } from './codedEntry.ts'

/** Entries looked at that say they are the parity of one object. */
const PARITIES_LOOKED_MAX = 256

/** Of the first entries that say they are parity of this object the one that would count most (docs/erasure.md 8), where it counts
 *  before the one that protects it now. Nobody may be able to prove it; of the same code there is but one, so another entry of that has
 *  the same bytes, or wrong ones. */
export function betterParity(kept: CodedEntry, parities: ParityIndex): CodedEntry | undefined {
  const claimed = firstOf(parities.of(kept.data), PARITIES_LOOKED_MAX).map((parity) => codedEntryOf(kept.data, parity))
  const others = claimed.filter(({ code }) => code.k !== kept.code.k || code.m !== kept.code.m)
  const best = chooseParity(others.map((one) => ({ code: one.code, seq: one.parity.seq, one })))?.one
  return best !== undefined && countsBefore(best, kept) ? best : undefined
}

/** Whether one parity of an object counts before another one if both are proven. */
export function countsBefore(one: CodedEntry, other: CodedEntry): boolean {
  const [a, b] = [one, other].map(({ code, parity }) => ({ code, seq: parity.seq }))
  return a!.seq !== b!.seq && chooseParity([a!, b!]) === a
}
