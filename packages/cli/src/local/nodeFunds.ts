import type { Abortable, Address } from '@weightless/core'
import type { Rpc, Transactor } from '@weightless/sdk'
import { fail } from '../errors.ts'

/** What a storage node of a local network gets: stake for a thousand terabytes and gas for fifty thousand transactions. The
 *  account that pays has ten thousand: enough for as many nodes as a registry takes. */
const NODE_FUNDS_WEI = 10_000_000_000_000_000_000n
/** A node that has more than this is not funded again. */
const NODE_FUNDS_WEI_MIN: bigint = NODE_FUNDS_WEI / 10n

/** Gives each address that has little the same amount, one transaction each. Throws `FUNDING_FAILED`. */
export async function fundNodes(
  addresses: readonly Address[],
  deps: { readonly rpc: Rpc; readonly funder: Transactor },
  { signal }: Abortable,
): Promise<void> {
  try {
    await Promise.all(
      addresses.map(async (address) => {
        const balance = await deps.rpc.request('eth_getBalance', [address, 'latest'], { signal })
        if (typeof balance === 'string' && BigInt(balance) >= NODE_FUNDS_WEI_MIN) return
        await deps.funder.send({ to: address, data: '0x', valueWei: NODE_FUNDS_WEI }, { signal })
      }),
    )
  } catch (cause) {
    if (signal?.aborted) throw signal.reason
    throw fail('FUNDING_FAILED', { nodes: addresses.length }, { cause })
  }
}
