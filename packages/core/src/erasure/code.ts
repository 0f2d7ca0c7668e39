import type { ErasureCode } from '@weightless/kernels'
import { fail, preview } from '../errors.ts'
import { SLOT_COUNT_MAX } from '../limits.ts'

export type { ErasureCode }

/** Reads `k+m`, as people write a code: "4+2". Throws `CODE_INVALID`. */
export function parseCode(value: unknown): ErasureCode {
  const found = typeof value === 'string' ? /^([1-9][0-9]{0,2})\+([1-9][0-9]{0,2})$/.exec(value) : undefined
  const code = found && { k: Number(found[1]), m: Number(found[2]) }
  if (code && isCode(code)) return code
  throw fail('CODE_INVALID', { value: preview(value) })
}

export function isCode({ k, m }: ErasureCode): boolean {
  const isCount = (count: number): boolean => Number.isInteger(count) && count >= 1
  return isCount(k) && isCount(m) && k + m <= SLOT_COUNT_MAX
}
