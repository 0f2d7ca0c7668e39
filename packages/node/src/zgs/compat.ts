import type { Entry, JsonRpcParams, Root } from '@weightless/core'
import { CHUNK_SIZE_BYTES, concat, jsonRpcCodes, layoutOf, leafCountOf, SEGMENT_CHUNKS, toHex } from '@weightless/core'
import { lookupByRoot } from '../flow/entries.ts'
import type { FastBytes } from '../http/fastBytes.ts'
import type { ZgsBackend } from './backend.ts'
import { invalidParam, RpcFault, serverFault } from './fault.ts'
import { countParam, positional, rootParam } from './params.ts'
import { fileInfoOf, segmentWithProofOf, statusOf } from './shapes.ts'
import { dataInSegment, hashOfSegment, proveSector } from './sector.ts'
import { takeSegments, type DataOf } from './upload.ts'

/** One JSON-RPC method: positional parameters in, a JSON value out. */
export type RpcMethod = (params: readonly unknown[], call: RpcCallContext) => Promise<unknown>
export type RpcCallContext = { readonly dataOf: DataOf; readonly signal: AbortSignal }
export type RpcMethods = ReadonlyMap<string, RpcMethod>

/**
 * The method names of official storage nodes (spec/storage.md 3.2), mapped to what a role can do. Uploads answer 0 and not
 * null: SDK 0.3.3 takes null for a failure and sends everything again (11.1).
 */
export function zgsMethods(backend: ZgsBackend, deps: { readonly bytes: FastBytes }): RpcMethods {
  const upload = (single: boolean, bySeq: boolean): RpcMethod => {
    return async ([first, seq], { dataOf, signal }) => {
      const segments = single ? [first] : first
      if (!Array.isArray(segments))
        throw invalidParam('segments', first === undefined ? 'missing' : 'an array is expected')
      await takeSegments(segments, bySeq ? countParam(seq, 'tx_seq') : undefined, { backend, dataOf }, { signal })
      return 0
    }
  }

  /** The entry that a root stands for, after a last look at those that are not final. */
  async function byRoot(value: unknown, signal: AbortSignal): Promise<Entry | undefined> {
    const entries = backend.entries.byRoot(rootParam(value))
    const found = lookupByRoot(entries, backend.isFinal)
    if (found === undefined || backend.isFinal(found)) return found
    await backend.refresh(entries, { signal })
    return lookupByRoot(entries, backend.isFinal)
  }

  async function bySeq(value: unknown, signal: AbortSignal, name = 'tx_seq'): Promise<Entry | undefined> {
    const entry = backend.entries.bySeq(countParam(value, name))
    if (entry !== undefined && !backend.isFinal(entry)) await backend.refresh([entry], { signal })
    return entry
  }

  async function chunks(
    entry: Entry | undefined,
    start: unknown,
    end: unknown,
    signal: AbortSignal,
  ): Promise<string | null> {
    const from = countParam(start, 'start_index')
    const to = countParam(end, 'end_index')
    if (from >= to) throw invalidParam('end_index', 'invalid chunk index')
    if (to - from > SEGMENT_CHUNKS) throw invalidParam('end_index', `exceeds maximum chunks ${SEGMENT_CHUNKS}`)
    if (entry === undefined) return null
    if (to > layoutOf(entry.sizeBytes).chunkCount) throw invalidParam('end_index', 'invalid chunk index')
    const parts: Uint8Array[] = []
    for (let chunk = from; chunk < to;) {
      const index = Math.floor(chunk / SEGMENT_CHUNKS)
      const stop = Math.min(to, (index + 1) * SEGMENT_CHUNKS)
      const segment = await backend.read(entry, index, { signal })
      if (segment === undefined) return null
      const first = index * SEGMENT_CHUNKS
      parts.push(segment.data.subarray((chunk - first) * CHUNK_SIZE_BYTES, (stop - first) * CHUNK_SIZE_BYTES))
      chunk = stop
    }
    return deps.bytes.toBase64(parts.length === 1 ? parts[0]! : concat(parts))
  }

  async function withProof(entry: Entry | undefined, value: unknown, signal: AbortSignal): Promise<object | null> {
    const index = countParam(value, 'index')
    if (entry === undefined) return null
    const layout = layoutOf(entry.sizeBytes)
    if (index >= layout.segmentCount) throw invalidParam('index', 'index out of bound')
    const segment = await backend.read(entry, index, { signal })
    if (segment === undefined) return null
    const segmentRoot = await backend.kernels.segmentRoots(segment.data, {
      lastLeafCount: leafCountOf(layout, index),
      signal,
    })
    return segmentWithProofOf(entry, segment, { data: deps.bytes.toBase64(segment.data), segmentRoot })
  }

  return new Map<string, RpcMethod>([
    ['zgs_getStatus', async () => statusOf(backend)],
    ['zgs_uploadSegment', upload(true, false)],
    ['zgs_uploadSegmentByTxSeq', upload(true, true)],
    ['zgs_uploadSegments', upload(false, false)],
    ['zgs_uploadSegmentsByTxSeq', upload(false, true)],
    [
      'zgs_downloadSegment',
      async ([root, start, end], { signal }) => chunks(await byRoot(root, signal), start, end, signal),
    ],
    [
      'zgs_downloadSegmentByTxSeq',
      async ([seq, start, end], { signal }) =>
        chunks(backend.entries.bySeq(countParam(seq, 'tx_seq')), start, end, signal),
    ],
    [
      'zgs_downloadSegmentWithProof',
      async ([root, index], { signal }) => withProof(await byRoot(root, signal), index, signal),
    ],
    [
      'zgs_downloadSegmentWithProofByTxSeq',
      async ([seq, index], { signal }) => withProof(backend.entries.bySeq(countParam(seq, 'tx_seq')), index, signal),
    ],
    [
      'zgs_checkFileFinalized',
      async ([name], { signal }) => {
        const entry = await (typeof name === 'number' ? bySeq(name, signal, 'tx_seq_or_root') : byRoot(name, signal))
        return entry === undefined ? null : backend.isFinal(entry)
      },
    ],
    [
      'zgs_getFileInfo',
      // The second parameter, needAvailable, asks to leave out pruned entries: none are pruned here.
      async ([root], { signal }) => {
        const entry = await byRoot(root, signal)
        return entry === undefined ? null : fileInfoOf(backend, entry)
      },
    ],
    [
      'zgs_getFileInfoByTxSeq',
      async ([seq], { signal }) => {
        const entry = await bySeq(seq, signal)
        return entry === undefined ? null : fileInfoOf(backend, entry)
      },
    ],
    ['zgs_getShardConfig', async () => backend.shardConfig()],
    [
      'zgs_getSectorProof',
      async ([sector, flowRoot], { signal }) => {
        const lengthChunks =
          flowRoot === undefined || flowRoot === null ? undefined : lengthOf(rootParam(flowRoot, 'flow_root'))
        return await proveSector(countParam(sector, 'sector_index'), lengthChunks, backend, { signal })
      },
    ],
    [
      'zgs_getHashAtNodeIndex',
      async ([index], { signal }) => {
        const hash = await hashOfSegment(countParam(index, 'index'), backend, { signal })
        return hash === undefined ? null : toHex(hash)
      },
    ],
    [
      'zgs_getFlowContext',
      async () => {
        const { root, lengthChunks } = backend.flow.context()
        return [toHex(root), lengthChunks]
      },
    ],
    [
      'zgs_getDataByNodeIndex',
      async ([index], { signal }) => {
        const pieces = await dataInSegment(countParam(index, 'index'), backend, { signal })
        return pieces.length === 0 ? null : pieces.map(({ data }) => [...data])
      },
    ],
    [
      'zgs_getMetaDataByNodeIndex',
      async ([index], { signal }) => {
        const pieces = await dataInSegment(countParam(index, 'index'), backend, { signal })
        return pieces
          .map(({ entry, index: at, data }) => `seq=${entry.seq} segment=${at} bytes=${data.length}`)
          .join('; ')
      },
    ],
  ])

  function lengthOf(root: Root): number {
    const lengthChunks = backend.flow.lengthOfRoot(root)
    if (lengthChunks === undefined) throw serverFault('flow root not found')
    return lengthChunks
  }
}

/** Memory that an answer takes on its way out: a segment, its base64 and the text around it; numbers instead of base64 take
 *  sixteen bytes for one. Answers of the other methods are small. */
const ANSWER_BYTES: ReadonlyMap<string, number> = new Map([
  ['zgs_downloadSegment', 1024 ** 2],
  ['zgs_downloadSegmentByTxSeq', 1024 ** 2],
  ['zgs_downloadSegmentWithProof', 1024 ** 2],
  ['zgs_downloadSegmentWithProofByTxSeq', 1024 ** 2],
  ['zgs_getMetaDataByNodeIndex', 1024 ** 2],
  ['zgs_getDataByNodeIndex', 4 * 1024 ** 2],
])

/** What to reserve before a call is carried out; 0 for one whose answer is small. */
export function answerBytesOf(method: string): number {
  return ANSWER_BYTES.get(method) ?? 0
}

/** Looks a method up and runs it under the signal of the call (`context`). Throws `RpcFault` for an unknown one. */
export async function callMethod(
  methods: RpcMethods,
  name: string,
  params: JsonRpcParams,
  context: RpcCallContext,
): Promise<unknown> {
  const method = methods.get(name)
  if (method === undefined) throw new RpcFault(jsonRpcCodes.methodNotFound, 'Method not found')
  return await method(positional(params), context)
}
