import { isFailure, type Abortable } from '@weightless/core'
import { fail } from './errors.ts'
import { parseQuantity } from './quantity.ts'
import type { Rpc } from './rpc.ts'
import type { Fees } from './signer.ts'

const GWEI = 10n ** 9n
/** Above this something is wrong with the endpoint or the market: 0G's chain asks for 2 to 4 gwei, Ethereum's worst days for
 *  about 1000. */
const FEE_PER_GAS_WEI_MAX: bigint = 2_000n * GWEI
const PRIORITY_FEE_WEI_MAX: bigint = 100n * GWEI
/** When an endpoint has no opinion on the tip. */
const PRIORITY_FEE_WEI_DEFAULT: bigint = 1n * GWEI
/** Six full blocks in a row double the base fee (EIP-1559): a transaction stays minable for that long. */
const BASE_FEE_FACTOR = 2n

/** What a transaction offers per unit of gas now: EIP-1559 where blocks have a base fee, else a gas price. Throws
 *  `FEE_ABOVE_CAP` before anything is signed. */
export async function readFees(rpc: Rpc, options: Abortable): Promise<Fees> {
  const [block, tip] = await Promise.all([
    rpc.request('eth_getBlockByNumber', ['latest', false], options),
    rpc.request('eth_maxPriorityFeePerGas', [], options).catch((error: unknown) => {
      if (isFailure(error, 'RPC_ERROR')) return undefined
      throw error
    }),
  ])
  const baseFee = (block as { readonly baseFeePerGas?: unknown } | null)?.baseFeePerGas
  if (baseFee === undefined || baseFee === null) {
    const gasPriceWei = parseQuantity(await rpc.request('eth_gasPrice', [], options), 'gasPrice')
    return { type: 'legacy', gasPriceWei: capped(gasPriceWei) }
  }
  const baseFeeWei = parseQuantity(baseFee, 'baseFeePerGas')
  const tipWei = tip === undefined ? PRIORITY_FEE_WEI_DEFAULT : parseQuantity(tip, 'maxPriorityFeePerGas')
  const maxPriorityFeePerGasWei = tipWei < PRIORITY_FEE_WEI_MAX ? tipWei : PRIORITY_FEE_WEI_MAX
  capped(baseFeeWei + maxPriorityFeePerGasWei)
  const wishedWei = baseFeeWei * BASE_FEE_FACTOR + maxPriorityFeePerGasWei
  return {
    type: 'eip1559',
    maxFeePerGasWei: wishedWei < FEE_PER_GAS_WEI_MAX ? wishedWei : FEE_PER_GAS_WEI_MAX,
    maxPriorityFeePerGasWei,
  }
}

/** The most that one unit of gas can cost under `fees`. */
export function feePerGasWeiMax(fees: Fees): bigint {
  return fees.type === 'eip1559' ? fees.maxFeePerGasWei : fees.gasPriceWei
}

/** Whether a transaction that offers `fees` can be mined while blocks ask for what `now` was made of. */
export function reaches(fees: Fees, now: Fees): boolean {
  if (now.type === 'legacy') return feePerGasWeiMax(fees) >= now.gasPriceWei
  // Where `readFees` met its cap this is too low, and a transaction near the cap waits without being raised.
  const baseFeeWei = (now.maxFeePerGasWei - now.maxPriorityFeePerGasWei) / BASE_FEE_FACTOR
  return feePerGasWeiMax(fees) >= baseFeeWei
}

/** Pools take a transaction in place of another of the same nonce when it offers a tenth more; an eighth is sure of it. */
const RAISE_DIVISOR = 8n

/** What the replacement of a transaction offers. `undefined` when it would be above the cap. */
export function raisedFees(fees: Fees, wished: Fees): Fees | undefined {
  const raised = (ours: bigint, wish: bigint): bigint => {
    const least = ours + ours / RAISE_DIVISOR + 1n
    return wish > least ? wish : least
  }
  if (fees.type === 'legacy') {
    const gasPriceWei = raised(fees.gasPriceWei, feePerGasWeiMax(wished))
    return gasPriceWei > FEE_PER_GAS_WEI_MAX ? undefined : { type: 'legacy', gasPriceWei }
  }
  const tipWei = wished.type === 'eip1559' ? wished.maxPriorityFeePerGasWei : 0n
  const maxFeePerGasWei = raised(fees.maxFeePerGasWei, feePerGasWeiMax(wished))
  const maxPriorityFeePerGasWei = raised(fees.maxPriorityFeePerGasWei, tipWei)
  return maxFeePerGasWei > FEE_PER_GAS_WEI_MAX
    ? undefined
    : { type: 'eip1559', maxFeePerGasWei, maxPriorityFeePerGasWei }
}

function capped(feePerGasWei: bigint): bigint {
  if (feePerGasWei <= FEE_PER_GAS_WEI_MAX) return feePerGasWei
  throw fail('FEE_ABOVE_CAP', { feePerGasWei, feePerGasWeiMax: FEE_PER_GAS_WEI_MAX })
}
