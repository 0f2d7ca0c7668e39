import { keccak256 } from '@weightless/kernels'
import { equal } from '../bytes.ts'
import { isFailure } from '../errors.ts'
import { parseRoot, type Root } from '../hex.ts'
import { HASH_SIZE_BYTES } from '../limits.ts'

/** What official clients store for a directory: a file that names its files by their roots (spec/storage.md 4.5). */
export type DirectoryNode =
  | { readonly type: 'directory'; readonly name: string; readonly entries: readonly unknown[] }
  /** Its bytes are those of these files end to end; an empty file has none. */
  | { readonly type: 'file'; readonly name: string; readonly sizeBytes: number; readonly roots: readonly Root[] }
  | { readonly type: 'symbolic'; readonly name: string; readonly link: string }

/** The root of the tree that such a file describes. `undefined` for any other bytes. Only what is asked for is looked at: entries
 *  are read by `entriesOf` and `locateIn`. */
export function parseDirectory(bytes: Uint8Array): DirectoryNode | undefined {
  if (bytes.length <= JSON_AT || !equal(bytes.subarray(0, HASH_SIZE_BYTES), MAGIC)) return undefined
  const version = new DataView(bytes.buffer, bytes.byteOffset).getUint16(HASH_SIZE_BYTES)
  if (version !== 1 && version !== 2) return undefined
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(JSON_AT)))
  } catch {
    return undefined
  }
  return nodeOf(value)
}

/** What lies directly in a directory, in its order; what says nothing is left out. */
export function entriesOf({ entries }: Extract<DirectoryNode, { type: 'directory' }>): readonly DirectoryNode[] {
  return entries.map(nodeOf).filter((node) => node !== undefined)
}

/** What a path leads to from here, name by name. Links are not followed: where they lead is the reader's to decide. */
export function locateIn(node: DirectoryNode, names: readonly string[]): DirectoryNode | undefined {
  let at: DirectoryNode | undefined = node
  for (const name of names) {
    if (at?.type !== 'directory') return undefined
    at = nodeOf(at.entries.find((entry) => isObject(entry) && entry['name'] === name))
  }
  return at
}

const MAGIC: Uint8Array = keccak256(new TextEncoder().encode('0g-storage-client-dir-codec'))
const JSON_AT: number = HASH_SIZE_BYTES + 2

/** Empty fields are not written. Version 1 has one root under `hash`, version 2 a list. */
function nodeOf(value: unknown): DirectoryNode | undefined {
  if (!isObject(value)) return undefined
  const { name, type, hash, roots, size = 0, link = '', entries = [] } = value
  if (typeof name !== 'string') return undefined
  if (type === 'directory' && Array.isArray(entries)) return { type, name, entries }
  if (type === 'symbolic' && typeof link === 'string') return { type, name, link }
  if (type !== 'file' || !Number.isSafeInteger(size) || (size as number) < 0) return undefined
  const listed = Array.isArray(roots) ? roots : hash === undefined || hash === '' ? [] : [hash]
  try {
    return { type, name, sizeBytes: size as number, roots: listed.map(parseRoot) }
  } catch (error) {
    if (isFailure(error)) return undefined
    throw error
  }
}

function isObject(value: unknown): value is { readonly [name: string]: unknown } {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
