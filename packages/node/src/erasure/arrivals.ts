import type { Shard } from '@weightless/core'
import { equal, shardCountOf } from '@weightless/core'
import { FINGERPRINT_SIZE_BYTES } from '@weightless/kernels'
import { codedBytesOf, type CodedEntry } from './codedEntry.ts'

/** Fingerprints of shards that came a moment ago, until all of a slot are written down. */
export type Arrivals = {
  add(coded: CodedEntry, shard: Shard, fingerprint: Uint8Array): void
  /** By stripe, of those of a slot that came. */
  of(coded: CodedEntry, slot: number): (stripe: number) => Uint8Array | undefined
  forget(coded: CodedEntry, slot: number): void
}

type Arrived = { readonly codedBytes: Uint8Array; readonly fingerprints: Uint8Array; readonly bits: Uint8Array }

/** A slot of 1 GiB has 16 KiB of fingerprints. What has no place any more is computed from the store. */
const ARRIVALS_BYTES_MAX: number = 4 * 1024 ** 2

export function createArrivals(bytesMax: number = ARRIVALS_BYTES_MAX): Arrivals {
  /** By data, parity and slot; those that were added to last come last. */
  const slots = new Map<string, Arrived>()
  let usedBytes = 0

  function remove(name: string): void {
    usedBytes -= sizeOf(slots.get(name))
    slots.delete(name)
  }

  function arrivedOf(coded: CodedEntry, slot: number): Arrived | undefined {
    const arrived = slots.get(nameOf(coded, slot))
    // After a reorganisation the numbers may be those of other entries.
    return arrived !== undefined && equal(arrived.codedBytes, codedBytesOf(coded)) ? arrived : undefined
  }

  return {
    add(coded, { slot, stripe }, fingerprint) {
      const name = nameOf(coded, slot)
      const arrived = arrivedOf(coded, slot) ?? emptyFor(coded, slot)
      if (sizeOf(arrived) > bytesMax) return
      remove(name)
      slots.set(name, arrived)
      usedBytes += sizeOf(arrived)
      for (const first of slots.keys()) {
        if (usedBytes <= bytesMax) break
        remove(first)
      }
      arrived.fingerprints.set(fingerprint, stripe * FINGERPRINT_SIZE_BYTES)
      arrived.bits[stripe >> 3]! |= 1 << (stripe & 7)
    },
    of(coded, slot) {
      const arrived = arrivedOf(coded, slot)
      return (stripe) => {
        if (arrived === undefined || ((arrived.bits[stripe >> 3]! >> (stripe & 7)) & 1) === 0) return undefined
        return arrived.fingerprints.subarray(stripe * FINGERPRINT_SIZE_BYTES, (stripe + 1) * FINGERPRINT_SIZE_BYTES)
      }
    },
    forget: (coded, slot) => remove(nameOf(coded, slot)),
  }
}

function emptyFor(coded: CodedEntry, slot: number): Arrived {
  const shardCount = shardCountOf(coded.layout, slot)
  return {
    codedBytes: codedBytesOf(coded),
    fingerprints: new Uint8Array(shardCount * FINGERPRINT_SIZE_BYTES),
    bits: new Uint8Array(Math.ceil(shardCount / 8)),
  }
}

function sizeOf(arrived: Arrived | undefined): number {
  return arrived === undefined ? 0 : arrived.fingerprints.length + arrived.bits.length
}

function nameOf({ data, parity }: CodedEntry, slot: number): string {
  return `${data.seq} ${parity.seq} ${slot}`
}
