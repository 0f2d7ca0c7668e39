import { fail } from '../errors.ts'
import type { Hex, Root } from '../hex.ts'
import { HASH_SIZE_BYTES } from '../limits.ts'
import { slotsOf } from '../storage/receipt.ts'
import type { Receipt } from '../types.ts'
import type { ShardClaim } from './provenParity.ts'
import { fingerprintRootOf, fingerprintsSizeOf } from './shardFingerprints.ts'
import { shardCountOf, type ShardLayout } from './shardLayout.ts'

/** `fingerprintRoot` of a receipt for the whole entry. */
export const NO_FINGERPRINTS: Hex = `0x${'00'.repeat(HASH_SIZE_BYTES)}`

/** Whether a holder signed for the whole entry (its slot is the rank of the copy) or for the shards of its slots. */
export function receiptKindOf({ fingerprintRoot }: Pick<Receipt, 'fingerprintRoot'>): 'copy' | 'shards' {
  return fingerprintRoot === NO_FINGERPRINTS ? 'copy' : 'shards'
}

/** Checks that a receipt is for shards of this object and that these are the fingerprints which it signs. Its signature is for
 *  `verifyReceipt`, whether they are right for `proveParity`. Throws `RECEIPT_INVALID`. */
export function checkFingerprints(
  of: { readonly layout: ShardLayout; readonly parityRoot: Root },
  receipt: Receipt,
  fingerprints: Uint8Array,
): ShardClaim {
  const { layout } = of
  const refuse = (reason: string) => fail('RECEIPT_INVALID', { reason, signer: receipt.signer, slots: receipt.slots })
  const slots = slotsOf(receipt.slots)
  if (receiptKindOf(receipt) === 'copy') throw refuse('it is for a whole copy')
  if (slots.some((slot) => shardCountOf(layout, slot) === 0)) throw refuse('the object has no shards in that slot')
  const sizeBytes = fingerprintsSizeOf(layout, slots)
  if (fingerprints.length !== sizeBytes)
    throw refuse(`there are ${fingerprints.length} bytes of fingerprints and not ${sizeBytes}`)
  if (fingerprintRootOf({ ...of, slots }, fingerprints) !== receipt.fingerprintRoot)
    throw refuse('the fingerprints are not those that it signs')
  return { slots, fingerprints }
}
