import { fail } from '../errors.ts'
import type { Address } from '../hex.ts'
import type { Member, Receipt } from '../types.ts'
import { verifyReceipt } from './receipt.ts'

/** What a set of receipts proves about one entry (DESIGN D9). Every receipt must be valid, name the same chain, registry, root and
 *  sequence number as the first, and come from a member; a signer counts once however often it signs. For whole copies every
 *  holder but one may be lost. The signatures are checked here, the member list against its hash by `membershipHash`.
 *  Throws `RECEIPT_INVALID`; too few holders are no error but `isDurable: false`. */
export function durability(
  receipts: readonly Receipt[],
  options: { readonly needed: number; readonly members: readonly Member[] },
): Durability {
  const first = receipts[0]
  const signers = new Set(options.members.map((member) => member.signer))
  const holders = new Set<Address>()
  for (const receipt of receipts) {
    for (const name of ['chainId', 'registry', 'dataRoot', 'entrySeq'] as const) {
      if (receipt[name] !== first![name]) {
        throw fail('RECEIPT_INVALID', {
          reason: `${name} differs`,
          signer: receipt.signer,
          value: receipt[name],
          expected: first![name],
        })
      }
    }
    if (!signers.has(receipt.signer))
      throw fail('RECEIPT_INVALID', { reason: 'the signer is no member', signer: receipt.signer })
    verifyReceipt(receipt)
    holders.add(receipt.signer)
  }
  return {
    holders: [...holders],
    needed: options.needed,
    isDurable: holders.size >= options.needed && holders.size > 0,
    lossesSurvived: Math.max(0, holders.size - 1),
  }
}

export type Durability = {
  /** Distinct signers in the order of the receipts. */
  readonly holders: readonly Address[]
  readonly needed: number
  readonly isDurable: boolean
  /** Holders that may vanish before the last copy does. */
  readonly lossesSurvived: number
}
