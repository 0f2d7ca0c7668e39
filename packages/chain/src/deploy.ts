import { type Abortable, type Clock, toHex } from '@weightless/core'
import {
  defaultDeployParams,
  type DeployedAddresses,
  deployedAddresses,
  deployPlan,
  type DeployParams,
  type DeployStep,
} from '@weightless/contracts'
import { systemClock } from '@weightless/host'
import { type Abi, encodeDeployData, encodeFunctionData, getContractAddress, type Hex, keccak256 } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { fail } from './errors.ts'

/** An initialise call creates at most one small contract and writes a dozen slots. */
const INITIALIZE_GAS = 3_000_000n
/** Until the last step is in a block: milliseconds on our chain, a few blocks of seconds elsewhere. */
const MINED_MS_MAX = 120_000
const POLL_MS_MIN = 5
const POLL_MS_MAX = 1000

/** Puts the contracts of a network on a chain, from an account that does nothing before: step i of the plan is its transaction i,
 *  so the addresses are known beforehand, a stopped deployment goes on where it stopped, and a finished one is found again. All
 *  missing steps are sent at once. Throws `DEPLOY_FAILED` or `DEPLOY_CONFLICT`. */
export async function deployContracts(
  rpc: DeployRpc,
  options: DeployOptions,
  { signal, clock = systemClock }: Abortable & { readonly clock?: Clock } = {},
): Promise<DeployedContracts> {
  signal?.throwIfAborted()
  const account = privateKeyToAccount(toHex(options.key))
  const addresses = deployedAddresses((nonce) => getContractAddress({ from: account.address, nonce }))
  const plan = deployPlan({ foundationAdmin: account.address, ...defaultDeployParams, ...options.params }, addresses)
  const ask = (method: string, params: readonly unknown[]): Promise<unknown> => rpc.request(method, params, { signal })

  const done = Number(await ask('eth_getTransactionCount', [account.address, 'latest']))
  const missing = plan.slice(done)
  if (missing.length > 0) {
    const [chainId, gasPrice] = await Promise.all([ask('eth_chainId', []), ask('eth_gasPrice', [])])
    const fees = { maxFeePerGas: 2n * quantity(gasPrice), maxPriorityFeePerGas: quantity(gasPrice) / 2n }
    const raw = await Promise.all(
      missing.map(async (step, i) => {
        const target = step.kind === 'call' ? { to: addresses[step.name] } : {}
        const data = dataOf(step)
        const gas =
          step.kind === 'call'
            ? INITIALIZE_GAS
            : quantity(await ask('eth_estimateGas', [{ from: account.address, data }]))
        return account.signTransaction({
          type: 'eip1559',
          chainId: Number(chainId),
          nonce: done + i,
          gas,
          data,
          ...fees,
          ...target,
        })
      }),
    )
    // The same step is the same transaction each time: when an earlier run has sent it, its hash is found all the same.
    const sent = await Promise.allSettled(raw.map((transaction) => ask('eth_sendRawTransaction', [transaction])))
    const sendings = raw.map((transaction, i): Sending => ({
      step: missing[i]!,
      hash: keccak256(transaction),
      outcome: sent[i]!,
    }))
    await untilMined(sendings, ask, { signal, clock })
  }
  await check(addresses, ask)
  return lowerCase(addresses)
}

export type DeployRpc = { request(method: string, params: readonly unknown[], options?: Abortable): Promise<unknown> }
export type DeployOptions = {
  /** 32 bytes. Of an account that is funded and used for nothing before its deployment is through. */
  readonly key: Uint8Array
  /** What differs from the defaults; `foundationAdmin` is the deployer unless told otherwise. */
  readonly params?: Partial<DeployParams> | undefined
}
export type DeployedContracts = DeployedAddresses

type Ask = (method: string, params: readonly unknown[]) => Promise<unknown>

function dataOf(step: DeployStep): Hex {
  const abi = step.abi as Abi
  return step.kind === 'create'
    ? encodeDeployData({ abi, bytecode: step.bytecode, args: [...step.args] })
    : encodeFunctionData({ abi, functionName: step.functionName, args: [...step.args] })
}

type Sending = { readonly step: DeployStep; readonly hash: Hex; readonly outcome: PromiseSettledResult<unknown> }

async function untilMined(
  sendings: readonly Sending[],
  ask: Ask,
  { signal, clock }: Abortable & { readonly clock: Clock },
): Promise<void> {
  const deadlineMs = clock.nowMs() + MINED_MS_MAX
  for (const { step, hash, outcome } of sendings) {
    const facts = { step: `${step.kind} ${step.name}`, transaction: hash }
    for (let delayMs = POLL_MS_MIN; ; delayMs = Math.min(2 * delayMs, POLL_MS_MAX)) {
      const receipt = (await ask('eth_getTransactionReceipt', [hash])) as { readonly status?: unknown } | null
      if (receipt !== null) {
        if (receipt.status !== '0x1') throw fail('DEPLOY_FAILED', { ...facts, reason: 'it was reverted' })
        break
      }
      if (outcome.status === 'rejected') {
        signal?.throwIfAborted()
        throw fail('DEPLOY_FAILED', { ...facts, reason: 'it was not accepted' }, { cause: outcome.reason })
      }
      if (clock.nowMs() > deadlineMs) throw fail('DEPLOY_FAILED', { ...facts, reason: 'it is in no block' })
      await clock.sleep(delayMs, { signal })
    }
  }
}

/** `market()` of Flow: set by the last initialise call, so it also says that the plan ran to its end. */
const MARKET_SELECTOR = '0x80f55605'

async function check(addresses: DeployedAddresses, ask: Ask): Promise<void> {
  const codes = await Promise.all(
    Object.entries(addresses).map(
      async ([name, address]) => [name, address, await ask('eth_getCode', [address, 'latest'])] as const,
    ),
  )
  for (const [name, address, code] of codes) {
    if (typeof code !== 'string' || code.length <= 2)
      throw fail('DEPLOY_CONFLICT', { contract: name, address, reason: 'no code is there' })
  }
  const market = await ask('eth_call', [{ to: addresses.flow, data: MARKET_SELECTOR }, 'latest'])
  if (typeof market !== 'string' || !market.toLowerCase().endsWith(addresses.market.slice(2).toLowerCase())) {
    throw fail('DEPLOY_CONFLICT', { contract: 'flow', address: addresses.flow, reason: 'it belongs to another market' })
  }
}

function quantity(value: unknown): bigint {
  if (typeof value !== 'string' || !/^0x[0-9a-fA-F]+$/.test(value))
    throw fail('DEPLOY_FAILED', { reason: 'the chain gave no number' })
  return BigInt(value)
}

function lowerCase(addresses: DeployedAddresses): DeployedContracts {
  return Object.fromEntries(
    Object.entries(addresses).map(([name, address]) => [name, address.toLowerCase()]),
  ) as DeployedContracts
}
