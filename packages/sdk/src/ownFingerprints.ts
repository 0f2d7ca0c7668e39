import { fingerprintPoint, FINGERPRINT_SIZE_BYTES } from '@weightless/kernels'
import { fromHex, shardCountOf, type Abortable, type Kernels, type Root, type ShardLayout } from '@weightless/core'
import type { DataRows } from './stripes.ts'

/** Fingerprints of an object that whoever has its bytes computes himself: a holder is measured by them, and not by what another
 *  holder says. 16 bytes for each segment of data and parity. */
export type OwnFingerprints = {
  /** Takes in the data shards of a stripe. */
  add(stripe: number, rows: DataRows, options: Abortable): Promise<void>
  /** Stripes that were not taken in, ascending. */
  missing(): readonly number[]
  /** Of the shards of a slot, by stripe. Only when nothing is missing. */
  ofSlot(slot: number, options: Abortable): Promise<Uint8Array>
  /** Of all data slots. Only when nothing is missing. */
  data(): ReadonlyMap<number, Uint8Array>
}

export function createOwnFingerprints(
  object: { readonly root: Root; readonly layout: ShardLayout; readonly parity: { readonly root: Root } },
  { kernels }: { readonly kernels: Pick<Kernels, 'fingerprints' | 'encodeParity'> },
): OwnFingerprints {
  const { layout } = object
  const { code, stripeCount, dataSlotCount } = layout
  const point = fingerprintPoint(fromHex(object.root), fromHex(object.parity.root))
  // Rows of equal length, zeros where the last stripe lacks a shard: as the equations take them.
  const rows = Array.from({ length: dataSlotCount }, () => new Uint8Array(stripeCount * FINGERPRINT_SIZE_BYTES))
  const isDone = new Uint8Array(stripeCount)
  let parity: Promise<readonly Uint8Array[]> | undefined

  /** The equations are linear and the same in every stripe, so the fingerprints of all stripes are one row. */
  const computeParity = async (options: Abortable): Promise<readonly Uint8Array[]> => {
    const into = Array.from({ length: code.m }, () => new Uint8Array(stripeCount * FINGERPRINT_SIZE_BYTES))
    const data = Array.from({ length: code.k }, (_, slot) => rows[slot])
    await kernels.encodeParity({ code, data, parity: into }, options)
    return into
  }
  const own = (slot: number, row: Uint8Array): Uint8Array =>
    row.subarray(0, shardCountOf(layout, slot) * FINGERPRINT_SIZE_BYTES)

  return {
    add: async (stripe, shards, { signal }) => {
      if (isDone[stripe] === 1) return
      const present = shards.filter((shard) => shard !== undefined)
      const fingerprints = await kernels.fingerprints(present, { point, signal })
      for (let slot = 0; slot < present.length; slot++) {
        const own = fingerprints.subarray(slot * FINGERPRINT_SIZE_BYTES, (slot + 1) * FINGERPRINT_SIZE_BYTES)
        rows[slot]!.set(own, stripe * FINGERPRINT_SIZE_BYTES)
      }
      isDone[stripe] = 1
    },
    missing: () => Array.from(isDone, (done, stripe) => (done === 1 ? -1 : stripe)).filter((stripe) => stripe >= 0),
    ofSlot: async (slot, options) => {
      if (slot < code.k) return own(slot, rows[slot]!)
      parity ??= computeParity(options)
      parity.catch(() => (parity = undefined))
      return own(slot, (await parity)[slot - code.k]!)
    },
    data: () => new Map(rows.map((row, slot) => [slot, own(slot, row)])),
  }
}
