import type { Entry, Index, Kernels, Logger, ProvenSegment, Shard } from '@weightless/core'
import {
  BATCH_SEGMENTS_MAX,
  concat,
  equal,
  fromHex,
  SEGMENT_SIZE_BYTES,
  shardCountOf,
  shardOfSegment,
} from '@weightless/core'
import { FINGERPRINT_SIZE_BYTES, fingerprintPoint } from '@weightless/kernels'
import { pairKey } from '../flow/keys.ts'
import { CODED_BYTES_SIZE_BYTES, codedBytesOf, type CodedEntry } from './codedEntry.ts'
import { createArrivals } from './arrivals.ts'
import type { Pace } from '../sync/pace.ts'
import type { HeldShards } from './heldShards.ts'

/** Fingerprints of the shards that are here, computed once and kept in the index by slot: as shards arrive, while they are in memory,
 *  and from the store where that was not to be. */
export type Fingerprints = {
  /** Takes those of segments that were proven and stored a moment ago. What fails here is computed from the store later. */
  note(entry: Entry, segments: readonly ProvenSegment[], options: { readonly signal: AbortSignal }): Promise<void>
  /** Of the shards of these slots, in the order in which a receipt signs them. `undefined` when one is not here. */
  of(coded: CodedEntry, slots: readonly number[], options: FingerprintOptions): Promise<Uint8Array | undefined>
  /** Whether the shards of a slot that are here, all of them or not, have these fingerprints, which somebody claims for the slot. */
  agree(coded: CodedEntry, slot: number, claimed: Uint8Array, options: FingerprintOptions): Promise<boolean>
}
export type FingerprintOptions = {
  readonly signal: AbortSignal
  /** For what nobody waits for: behind the users, and below a rate. */
  readonly pace?: Pace | undefined
}

export type FingerprintsDeps = {
  readonly index: Index
  readonly held: HeldShards
  readonly kernels: Kernels
  readonly logger: Logger
  /** The object that an entry was most likely submitted for, as its data or as its parity; `undefined` for one without parity. */
  readonly codedOf: (entry: Entry) => CodedEntry | undefined
  /** Waits until so many bytes may be in memory; resolves to the function that gives them back. */
  readonly enter: (sizeBytes: number, options: { readonly signal: AbortSignal }) => Promise<() => void>
}

/** Shards in memory at once. */
const STEP_SHARDS: number = BATCH_SEGMENTS_MAX

export function createFingerprints(deps: FingerprintsDeps): Fingerprints {
  const { index, held, kernels, logger } = deps
  const arrivals = createArrivals()

  function kept(coded: CodedEntry, slot: number): Uint8Array | undefined {
    const value = index.get(rowKey(coded, slot))
    if (value === undefined || !equal(value.subarray(0, CODED_BYTES_SIZE_BYTES), codedBytesOf(coded))) return undefined
    return value.slice(CODED_BYTES_SIZE_BYTES)
  }

  async function compute(
    coded: CodedEntry,
    slot: number,
    options: FingerprintOptions,
  ): Promise<Uint8Array | undefined> {
    const shardCount = shardCountOf(coded.layout, slot)
    const fingerprints = new Uint8Array(shardCount * FINGERPRINT_SIZE_BYTES)
    const arrived = arrivals.of(coded, slot)
    const rest: number[] = []
    for (let stripe = 0; stripe < shardCount; stripe++) {
      const known = arrived(stripe)
      if (known === undefined) rest.push(stripe)
      else fingerprints.set(known, stripe * FINGERPRINT_SIZE_BYTES)
    }
    for (let from = 0; from < rest.length; from += STEP_SHARDS) {
      const stripes = rest.slice(from, from + STEP_SHARDS)
      const some = await ofShards(coded, slot, stripes, options)
      if (some === undefined) return undefined
      stripes.forEach((stripe, i) => {
        const one = some.subarray(i * FINGERPRINT_SIZE_BYTES, (i + 1) * FINGERPRINT_SIZE_BYTES)
        fingerprints.set(one, stripe * FINGERPRINT_SIZE_BYTES)
      })
    }
    const row = { key: rowKey(coded, slot), value: concat([codedBytesOf(coded), fingerprints]) }
    // Computed again if a crash takes it.
    index
      .transaction([row], { durability: 'written' })
      .then(() => arrivals.forget(coded, slot))
      .catch((error: unknown) => logger.error('fingerprints.saveFailed', { seq: coded.data.seq, slot, error }))
    return fingerprints
  }

  async function note(
    entry: Entry,
    segments: readonly ProvenSegment[],
    { signal }: { readonly signal: AbortSignal },
  ): Promise<void> {
    const coded = deps.codedOf(entry)
    if (coded === undefined) return
    const part = entry.seq === coded.data.seq ? 'data' : 'parity'
    const found = await kernels.fingerprints(
      segments.map(({ data }) => data),
      { point: pointOf(coded), signal },
    )
    segments.forEach(({ index: segmentIndex }, i) => {
      const shard: Shard = shardOfSegment(coded.layout, { entry: part, segmentIndex })
      arrivals.add(coded, shard, found.slice(i * FINGERPRINT_SIZE_BYTES, (i + 1) * FINGERPRINT_SIZE_BYTES))
    })
  }

  /** Of at most `STEP_SHARDS` shards; `undefined` when one is not here. */
  async function ofShards(
    coded: CodedEntry,
    slot: number,
    stripes: readonly number[],
    { signal, pace }: FingerprintOptions,
  ): Promise<Uint8Array | undefined> {
    await pace?.turn(stripes.length * SEGMENT_SIZE_BYTES, { signal })
    const leave = await deps.enter(stripes.length * SEGMENT_SIZE_BYTES, { signal })
    try {
      const shards = await Promise.all(stripes.map((stripe) => held.read(coded, { slot, stripe }, { signal })))
      const found = shards.filter((shard) => shard !== undefined).map(({ data }) => data)
      return found.length < stripes.length
        ? undefined
        : await kernels.fingerprints(found, { point: pointOf(coded), signal })
    } finally {
      leave()
    }
  }

  async function agree(
    coded: CodedEntry,
    slot: number,
    claimed: Uint8Array,
    options: FingerprintOptions,
  ): Promise<boolean> {
    const shardCount = shardCountOf(coded.layout, slot)
    if (claimed.length !== shardCount * FINGERPRINT_SIZE_BYTES) return false
    if (held.missingCount(coded, [slot]) === 0) {
      const own = kept(coded, slot) ?? (await compute(coded, slot, options))
      return own !== undefined && equal(own, claimed)
    }
    const stripes = Array.from({ length: shardCount }, (_, stripe) => stripe).filter((stripe) =>
      held.has(coded, { slot, stripe }),
    )
    for (let from = 0; from < stripes.length; from += STEP_SHARDS) {
      const some = stripes.slice(from, from + STEP_SHARDS)
      const own = await ofShards(coded, slot, some, options)
      if (own === undefined) return false
      const told = some.map((stripe) =>
        claimed.subarray(stripe * FINGERPRINT_SIZE_BYTES, (stripe + 1) * FINGERPRINT_SIZE_BYTES),
      )
      if (!equal(own, concat(told))) return false
    }
    return true
  }

  return {
    agree,
    async note(entry, segments, { signal }) {
      try {
        await note(entry, segments, { signal })
      } catch (error) {
        signal.throwIfAborted()
        logger.warn('fingerprints.notNoted', { seq: entry.seq, error })
      }
    },
    async of(coded, slots, options) {
      if (held.missingCount(coded, slots) > 0) return undefined
      const parts: Uint8Array[] = []
      for (const slot of [...slots].sort((a, b) => a - b)) {
        const part = kept(coded, slot) ?? (await compute(coded, slot, options))
        if (part === undefined) return undefined
        parts.push(part)
      }
      return concat(parts)
    },
  }
}

function pointOf({ data, parity }: CodedEntry): Uint8Array {
  return fingerprintPoint(fromHex(data.root), fromHex(parity.root))
}

function rowKey({ data, parity }: CodedEntry, slot: number): Uint8Array {
  return pairKey('fingerprints', data.seq, parity.seq, Uint8Array.of(slot))
}
