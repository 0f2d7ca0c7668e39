import type { JsonRpcParams, Root } from '@weightless/core'
import { isFailure, parseRoot } from '@weightless/core'
import { invalidParam } from './fault.ts'

/** Positional parameters, named for the error that tells which one is wrong. */
export function positional(params: JsonRpcParams): readonly unknown[] {
  if (Array.isArray(params)) return params as readonly unknown[]
  throw invalidParam('params', 'positional parameters in an array are expected')
}

export function rootParam(value: unknown, name = 'root'): Root {
  try {
    return parseRoot(value)
  } catch (error) {
    if (isFailure(error, 'ROOT_INVALID'))
      throw invalidParam(name, value === undefined ? 'missing' : '0x and 64 hex digits are expected')
    throw error
  }
}

/** A whole number from 0 on. Values beyond 2^53 are no position of anything that exists. */
export function countParam(value: unknown, name: string): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
  throw invalidParam(name, value === undefined ? 'missing' : 'a whole number is expected')
}
