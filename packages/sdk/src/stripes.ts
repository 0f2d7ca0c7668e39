import {
  layFrames,
  segmentDataSize,
  SEGMENT_SIZE_BYTES,
  segmentOfShard,
  type Abortable,
  type FileTree,
  type FrameHead,
  type Kernels,
  type Root,
  type ShardLayout,
} from '@weightless/core'
import { planBatches, UPLOAD_BATCH_SEGMENTS, type BatchSpan, type BodyBuffers } from './batches.ts'
import { fillFrom, type ReadAt } from './source.ts'

/** A coded object whose bytes are at hand. */
export type CodedObject = {
  readonly root: Root
  readonly tree: FileTree
  readonly source: ReadAt
  readonly layout: ShardLayout
  readonly parity: { readonly root: Root; readonly tree: FileTree }
}

/** Consecutive stripes as framed bytes: for each slot that was asked for, its shards of them. A slot is absent where the last
 *  stripe has no shard of it. */
export type StripeBatch = BatchSpan & { readonly bodies: ReadonlyMap<number, Uint8Array> }

/** Shards of one batch of stripes, unless a single stripe has more. */
const BATCH_BYTES: number = 12 * 1024 ** 2
/** Batches held for the holders together: the fastest may be this far ahead of the slowest. */
const WINDOW = 3
/** They have no more than this, or are one stripe: 20 MiB for 29+51, at most 64 MiB for any code. */
const WINDOW_BYTES: number = 48 * 1024 ** 2

/** Stripes in batches, small ones first, and how many of these may be held at once. */
export function planStripes({ code, stripeCount }: ShardLayout): {
  readonly plan: readonly BatchSpan[]
  readonly window: number
} {
  const stripeBytes = (code.k + code.m) * SEGMENT_SIZE_BYTES
  const max = Math.max(1, Math.min(UPLOAD_BATCH_SEGMENTS, Math.floor(BATCH_BYTES / stripeBytes)))
  const window = Math.max(1, Math.min(WINDOW, Math.floor(WINDOW_BYTES / (max * stripeBytes))))
  return { plan: planBatches({ first: 0, last: stripeCount - 1, max }), window }
}

/** Reads stripes from the source, once for all slots, and computes the parity that is asked for: the bytes go straight to their
 *  places in the bodies. `onData` sees the data shards of each stripe by slot, zero-extended, until it resolves. */
export async function loadStripes(
  object: CodedObject,
  what: { readonly span: BatchSpan; readonly slots: readonly number[] },
  deps: { readonly kernels: Pick<Kernels, 'encodeParity' | 'recover'> },
  options: Abortable & {
    readonly take: BodyBuffers['take']
    readonly onData?: ((stripe: number, rows: DataRows) => Promise<void>) | undefined
  },
): Promise<StripeBatch> {
  const { span, slots } = what
  const { layout } = object
  const { k } = layout.code
  const bodies = new Map<number, Uint8Array>()
  const places = new Map<string, Uint8Array>()
  for (const slot of slots) {
    const heads = headsOf(object, span, slot)
    if (heads.length === 0) continue
    const laid = layFrames(
      heads.map(({ head }) => head),
      options.take,
    )
    bodies.set(slot, laid.body)
    for (const [i, { stripe }] of heads.entries()) places.set(nameOf(stripe, slot), laid.places[i]!)
  }
  const paritySlots = slots.filter((slot) => slot >= k)
  const isWhole = paritySlots.length > 0 || options.onData !== undefined
  // All at once: what workers answer one by one they are woken for one by one.
  const stripes = Array.from({ length: span.count }, (_, i) => span.from + i)
  const rowsOf = stripes.map((stripe) =>
    Array.from({ length: k }, (_, slot): DataRow | undefined => {
      const segment = segmentOfShard(layout, { stripe, slot })
      const place = places.get(nameOf(stripe, slot))
      if (segment === undefined || (place === undefined && !isWhole)) return undefined
      // The last segment is shorter on the wire than in the equations.
      const isShort = place !== undefined && place.length < SEGMENT_SIZE_BYTES
      const row = place === undefined || isShort ? new Uint8Array(SEGMENT_SIZE_BYTES) : place
      return { row, place, start: segment.segmentIndex * SEGMENT_SIZE_BYTES }
    }),
  )
  await readRows(object.source, rowsOf.flat(), options)
  await Promise.all(
    rowsOf.map(async (rows, i) => {
      const shards = rows.map((row) => row?.row)
      if (paritySlots.length > 0) await encode(object, stripes[i]!, shards, places, deps, options)
      await options.onData?.(stripes[i]!, shards)
    }),
  )
  return { ...span, bodies }
}

/** Of one stripe, by data slot; `undefined` for one that is absent. */
export type DataRows = readonly (Uint8Array | undefined)[]
type DataRow = { readonly row: Uint8Array; readonly place: Uint8Array | undefined; readonly start: number }

function headsOf(
  { tree, parity, layout }: CodedObject,
  span: BatchSpan,
  slot: number,
): readonly { readonly stripe: number; readonly head: FrameHead }[] {
  return Array.from({ length: span.count }, (_, i) => span.from + i).flatMap((stripe) => {
    const segment = segmentOfShard(layout, { stripe, slot })
    if (segment === undefined) return []
    const of = segment.entry === 'data' ? tree : parity.tree
    const index = segment.segmentIndex
    return [{ stripe, head: { index, dataSizeBytes: segmentDataSize(of.layout, index), proof: of.prove(index) } }]
  })
}

function nameOf(stripe: number, slot: number): string {
  return `${stripe} ${slot}`
}

/** Runs of neighbours are read together. */
async function readRows(source: ReadAt, rows: readonly (DataRow | undefined)[], options: Abortable): Promise<void> {
  for (let at = 0; at < rows.length; at++) {
    const run: DataRow[] = []
    for (let row = rows[at]; row !== undefined; row = rows[++at]) run.push(row)
    if (run.length === 0) continue
    const { start } = run[0]!
    const last = run[run.length - 1]!
    const lastSizeBytes = Math.min(SEGMENT_SIZE_BYTES, source.sizeBytes - last.start)
    last.row.fill(0, lastSizeBytes)
    const parts = [...run.slice(0, -1).map(({ row }) => row), last.row.subarray(0, lastSizeBytes)]
    await fillFrom(source, parts, start, options)
    for (const { row, place } of run) if (place !== undefined && place !== row) place.set(row.subarray(0, place.length))
  }
}

async function encode(
  { layout: { code } }: CodedObject,
  stripe: number,
  data: DataRows,
  places: ReadonlyMap<string, Uint8Array>,
  { kernels }: { readonly kernels: Pick<Kernels, 'encodeParity' | 'recover'> },
  { signal }: Abortable,
): Promise<void> {
  const { k, m } = code
  const parity = Array.from({ length: m }, (_, j) => places.get(nameOf(stripe, k + j)))
  const wanted = parity.flatMap((into, j) => (into === undefined ? [] : [{ slot: k + j, into }]))
  if (wanted.length === m) {
    await kernels.encodeParity({ code, data, parity: wanted.map(({ into }) => into) }, { signal })
    return
  }
  const shards = [...data.map((row) => row ?? ('zero' as const)), ...parity.map(() => undefined)]
  await kernels.recover({ code, shards, wanted }, { signal })
}
