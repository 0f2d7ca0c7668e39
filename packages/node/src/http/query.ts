import type { Root } from '@weightless/core'
import { isFailure, parseRoot, preview } from '@weightless/core'
import { fail } from '../errors.ts'

/** A whole number of a query; `undefined` when it is not there. Throws `PARAMETER_INVALID`. */
export function wholeQuery(
  query: URLSearchParams,
  name: string,
  range: { readonly least: number; readonly most: number },
): number | undefined {
  const text = query.get(name)
  if (text === null) return undefined
  const value = /^[0-9]{1,16}$/.test(text) ? Number(text) : NaN
  if (Number.isSafeInteger(value) && value >= range.least && value <= range.most) return value
  throw fail('PARAMETER_INVALID', { name, value: preview(text), ...range })
}

export function requiredQuery(
  query: URLSearchParams,
  name: string,
  range: { readonly least: number; readonly most: number },
): number {
  const value = wholeQuery(query, name, range)
  if (value === undefined) throw fail('PARAMETER_INVALID', { name, value: 'missing', ...range })
  return value
}

export function rootOfPath(text: string): Root {
  try {
    return parseRoot(text)
  } catch (error) {
    if (isFailure(error, 'ROOT_INVALID')) throw fail('PARAMETER_INVALID', { name: 'root', value: preview(text) })
    throw error
  }
}
