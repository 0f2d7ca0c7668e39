import { isFailure, type Abortable, type Address } from '@weightless/core'
import {
  leaveMember,
  readOwnMember,
  readWithdrawableStake,
  withdrawStake,
  type Rpc,
  type Transactor,
} from '@weightless/sdk'

/** What became of a member that drained: it has left, with its stake paid out, or the registry lets it leave at that time of the chain. */
export type Leave =
  | { readonly kind: 'left'; readonly withdrawnWei: bigint }
  | { readonly kind: 'later'; readonly leavesAtS: number }

/** Leaves the registry and withdraws the stake, as far as the registry allows it now; again and again does no harm. */
export async function leaveRegistry(
  wallet: Transactor,
  registry: Address,
  { rpc }: { readonly rpc: Rpc },
  abortable: Abortable,
): Promise<Leave> {
  const owner = await wallet.address(abortable)
  const member = await readOwnMember(rpc, registry, owner, abortable)
  if (member?.status === 'draining') {
    try {
      await leaveMember(wallet, registry, abortable)
    } catch (error) {
      // Whether the delay is over only the chain's clock says.
      const leavesAtS = isFailure(error, 'TX_REVERTED') ? leaveTimeOf(error.facts['reason']) : undefined
      if (leavesAtS === undefined) throw error
      return { kind: 'later', leavesAtS }
    }
  }
  const withdrawnWei = await readWithdrawableStake(rpc, registry, owner, abortable)
  if (withdrawnWei > 0n) await withdrawStake(wallet, registry, abortable)
  return { kind: 'left', withdrawnWei }
}

/** From the registry's `LeavesLater(id, leaveAt)`. */
export function leaveTimeOf(reason: unknown): number | undefined {
  const found = /^LeavesLater\(\d+, (\d{1,15})\)$/.exec(String(reason))?.[1]
  return found === undefined ? undefined : Number(found)
}
