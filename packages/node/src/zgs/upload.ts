import type { Entry, Root } from '@weightless/core'
import {
  CHUNK_SIZE_BYTES,
  EARLY_FILE_BYTES_MAX,
  jsonRpcCodes,
  layoutOf,
  proofFromJson,
  segmentDataSize,
} from '@weightless/core'
import { lookupByRoot } from '../flow/entries.ts'
import type { ClaimedSegment } from '../segments/shelf.ts'
import type { ZgsBackend } from './backend.ts'
import { invalidParam, RpcFault, serverFault } from './fault.ts'
import { countParam, rootParam } from './params.ts'

/** Finds the bytes of a "data" value; `undefined` when it is no base64 text. */
export type DataOf = (data: unknown) => Uint8Array | undefined

/**
 * Takes segments from an official client in the order of checks of the reference node (spec/storage.md 3.3). Segments that are
 * here already are a success: clients send again what they got no answer for. Data for a finalised root is refused in the
 * words by which they know that all is well.
 */
export async function takeSegments(
  values: readonly unknown[],
  seq: number | undefined,
  context: { readonly backend: ZgsBackend; readonly dataOf: DataOf },
  options: { readonly signal: AbortSignal },
): Promise<void> {
  const { backend, dataOf } = context
  const groups = new Map<
    string,
    { root: Root; sizeBytes: number; entry: Entry | undefined; segments: ClaimedSegment[] }
  >()
  for (const value of values) {
    const { root, sizeBytes, segment } = parseSegment(value, dataOf)
    backend.checkUpload(root)
    const entry = findEntry(backend, { root, sizeBytes, seq })
    checkPosition(sizeBytes, segment)
    const key = `${root} ${sizeBytes}`
    const group = groups.get(key) ?? { root, sizeBytes, entry, segments: [] }
    groups.set(key, group)
    group.segments.push(segment)
  }
  for (const group of groups.values()) await backend.store(group, options)
}

function parseSegment(value: unknown, dataOf: DataOf): { root: Root; sizeBytes: number; segment: ClaimedSegment } {
  if (typeof value !== 'object' || value === null)
    throw invalidParam('segment', value === undefined ? 'missing' : 'an object is expected')
  const fields = value as { readonly [name: string]: unknown }
  const data = dataOf(fields['data'])
  if (data === undefined) throw invalidParam('data', fields['data'] === undefined ? 'missing' : 'base64 is expected')
  if (data.length === 0) throw serverFault('data is empty')
  if (data.length % CHUNK_SIZE_BYTES !== 0) throw serverFault('invalid data length')
  const root = rootParam(fields['root'])
  const index = countParam(fields['index'], 'index')
  const sizeBytes = countParam(fields['fileSize'], 'fileSize')
  if (sizeBytes === 0) throw invalidParam('fileSize', 'file is empty')
  const { proof, leaf, root: provenRoot } = proofFromJson(fields['proof'])
  if (provenRoot !== root) throw invalidParam('proof', 'validation failed')
  return { root, sizeBytes, segment: { index, data, proof, leaf } }
}

/** The entry that these bytes are for; `undefined` when the root is not on chain yet and the file is small enough to wait. */
function findEntry(
  backend: ZgsBackend,
  file: { readonly root: Root; readonly sizeBytes: number; readonly seq: number | undefined },
): Entry | undefined {
  const { root, sizeBytes, seq } = file
  const named = seq === undefined ? undefined : backend.entries.bySeq(seq)
  if (named !== undefined && named.root !== root) {
    throw new RpcFault(jsonRpcCodes.internal, 'Internal error', 'data root and tx seq not match')
  }
  // A root may stand for several entries of different sizes: the one of this size is meant (spec/storage.md 11.1).
  const sharing = named === undefined ? backend.entries.byRoot(root) : [named]
  const sameSize = sharing.filter((entry) => entry.sizeBytes === sizeBytes)
  const entry = lookupByRoot(sameSize.length > 0 ? sameSize : sharing, backend.isFinal)
  if (entry === undefined) {
    if (sizeBytes > EARLY_FILE_BYTES_MAX)
      throw invalidParam('fileSize', 'caching of large file when tx is unavailable is not supported')
    return undefined
  }
  if (entry.sizeBytes !== sizeBytes) throw invalidParam('fileSize', 'segment file size not matched with tx file size')
  if (backend.isFinal(entry)) throw invalidParam('root', 'already uploaded and finalized')
  return entry
}

function checkPosition(sizeBytes: number, segment: ClaimedSegment): void {
  const layout = layoutOf(sizeBytes)
  if (segment.index >= layout.segmentCount) throw invalidParam('index', 'index out of bound')
  if (segment.data.length !== segmentDataSize(layout, segment.index)) throw invalidParam('data', 'invalid data length')
}
