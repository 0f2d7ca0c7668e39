import { fail as failCore, verifyReceipt, type Address, type Member, type Receipt, type Root } from '@weightless/core'
import type { Client } from './client.ts'
import { NOBODY } from './membership.ts'
import type { NodeStatus } from './storageNodeClient.ts'

/** One entry, as a receipt must name it. */
export type SignedEntry = { readonly root: Root; readonly seq: number; readonly blockNumber: number }

/** Checks that this holder has signed for this entry. Throws `RECEIPT_INVALID`. */
export function checkSigned(
  client: Client,
  entry: SignedEntry,
  holder: { readonly member: Member; readonly status: NodeStatus },
  receipt: Receipt,
): Receipt {
  const facts = {
    chainId: client.network.chainId,
    registry: registryOf(client, holder.status),
    dataRoot: entry.root,
    entrySeq: entry.seq,
    blockNumber: entry.blockNumber,
    signer: signerOf(holder),
  }
  for (const [name, value] of Object.entries(facts)) {
    const actual = receipt[name as keyof typeof facts]
    if (actual !== value) throw failCore('RECEIPT_INVALID', { reason: `${name} differs`, expected: value, actual })
  }
  verifyReceipt(receipt)
  return receipt
}

/** Of a fixed list each node says who signs for it. */
export function signerOf({ member, status }: { readonly member: Member; readonly status: NodeStatus }): Address {
  return member.signer === NOBODY ? status.signer : member.signer
}

function registryOf({ membership }: Client, status: NodeStatus): Address {
  return membership.registry ?? status.registry ?? NOBODY
}
