import type { Index, Kernels, Logger } from '@weightless/core'
import { BATCH_SEGMENTS_MAX, concat, equal, fromHex, SEGMENT_SIZE_BYTES, shardCountOf } from '@weightless/core'
import { FINGERPRINT_SIZE_BYTES, fingerprintPoint } from '@weightless/kernels'
import { pairKey } from '../flow/keys.ts'
import { CODED_BYTES_SIZE_BYTES, codedBytesOf, type CodedEntry } from './codedEntry.ts'
import type { Pace } from '../sync/pace.ts'
import type { HeldShards } from './heldShards.ts'

/** Fingerprints of the shards that are here, computed from the store once and kept in the index by slot. */
export type Fingerprints = {
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
  /** Waits until so many bytes may be in memory; resolves to the function that gives them back. */
  readonly enter: (sizeBytes: number, options: { readonly signal: AbortSignal }) => Promise<() => void>
}

/** Shards in memory at once. */
const STEP_SHARDS: number = BATCH_SEGMENTS_MAX

export function createFingerprints(deps: FingerprintsDeps): Fingerprints {
  const { index, held, kernels, logger } = deps

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
    for (let from = 0; from < shardCount; from += STEP_SHARDS) {
      const stripes = Array.from({ length: Math.min(STEP_SHARDS, shardCount - from) }, (_, i) => from + i)
      const some = await ofShards(coded, slot, stripes, options)
      if (some === undefined) return undefined
      fingerprints.set(some, from * FINGERPRINT_SIZE_BYTES)
    }
    const row = { key: rowKey(coded, slot), value: concat([codedBytesOf(coded), fingerprints]) }
    // Computed again if a crash takes it.
    index
      .transaction([row], { durability: 'written' })
      .catch((error: unknown) => logger.error('fingerprints.saveFailed', { seq: coded.data.seq, slot, error }))
    return fingerprints
  }

  /** Of at most `STEP_SHARDS` shards; `undefined` when one is not here. */
  async function ofShards(
    coded: CodedEntry,
    slot: number,
    stripes: readonly number[],
    { signal, pace }: FingerprintOptions,
  ): Promise<Uint8Array | undefined> {
    await pace?.turn(stripes.length * SEGMENT_SIZE_BYTES, { signal })
    const point = fingerprintPoint(fromHex(coded.data.root), fromHex(coded.parity.root))
    const leave = await deps.enter(stripes.length * SEGMENT_SIZE_BYTES, { signal })
    try {
      const shards = await Promise.all(stripes.map((stripe) => held.read(coded, { slot, stripe }, { signal })))
      const found = shards.filter((shard) => shard !== undefined).map(({ data }) => data)
      return found.length < stripes.length ? undefined : await kernels.fingerprints(found, { point, signal })
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

function rowKey({ data, parity }: CodedEntry, slot: number): Uint8Array {
  return pairKey('fingerprints', data.seq, parity.seq, Uint8Array.of(slot))
}
