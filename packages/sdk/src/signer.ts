import {
  addressOfPrivateKey,
  fromHex,
  parseAddress,
  parseHex,
  parseTxHash,
  preview,
  signDigest,
  toHex,
  type Abortable,
  type Address,
  type Hex,
  type TxHash,
} from '@weightless/core'
import { keccak256 } from '@weightless/kernels'
import { getAddress, serializeTransaction, type TransactionSerializable } from 'viem'
import { fail } from './errors.ts'
import { RAW_TRANSACTION_BYTES_MAX } from './pendingTransaction.ts'
import { parseQuantity, toQuantity } from './quantity.ts'
import { abortable } from './scope.ts'

/** Whoever pays for an upload. Recognised by shape, so that no wallet library is pinned:
 *  - a viem account, or any `{ address, signTransaction }`, such as `privateKeySigner(key)`;
 *  - a viem WalletClient with an account;
 *  - an ethers Signer, version 5 or 6, with or without a provider;
 *  - an EIP-1193 wallet: `{ address, provider }`;
 *  - `{ address, privateKey }`. */
export type SignerLike = LocalAccount | WalletClientLike | EthersSignerLike | WalletProvider | PrivateKeyPair

export type LocalAccount = { readonly address: string; signTransaction(transaction: never): Promise<string> }
export type WalletClientLike = {
  readonly account?: { readonly address: string } | undefined
  request(request: never): Promise<unknown>
  signTransaction(transaction: never): Promise<string>
}
export type EthersSignerLike = {
  getAddress(): Promise<string>
  sendTransaction(transaction: never): Promise<{ readonly hash: string }>
  signTransaction(transaction: never): Promise<string>
  readonly provider?: unknown
}
export type WalletProvider = {
  readonly address: string
  readonly provider: { request(request: never): Promise<unknown> }
}
export type PrivateKeyPair = { readonly address: string; readonly privateKey: string }

/** Signs on this machine with a 32-byte private key (bytes or 0x-hex). The key is not reachable from the result. */
export function privateKeySigner(privateKey: string | Uint8Array): LocalAccount {
  const account = accountOf(privateKey)
  return { address: account.address, signTransaction: (transaction) => account.signTransaction(transaction) }
}

/** A call to be paid: sent as it is by wallets, or completed to a transaction and signed here. */
export type Call = { readonly to: Address; readonly data: Hex; readonly valueWei: bigint }
export type Fees =
  | { readonly type: 'eip1559'; readonly maxFeePerGasWei: bigint; readonly maxPriorityFeePerGasWei: bigint }
  | { readonly type: 'legacy'; readonly gasPriceWei: bigint }
export type Transaction = Call & {
  readonly chainId: number
  readonly nonce: number
  readonly gas: bigint
  readonly fees: Fees
}

/** What all signers come down to: one that signs bytes for us to send, or a wallet that sends by itself. */
export type Sender =
  | { readonly kind: 'local'; readonly address: Address; sign(transaction: Transaction): Promise<Hex> }
  | {
      readonly kind: 'wallet'
      readonly address: Address
      /** `undefined` when the wallet cannot tell. */
      chainId(options: Abortable): Promise<number | undefined>
      send(call: Call & { readonly gas: bigint }, options: Abortable): Promise<TxHash>
    }

/** Throws `SIGNER_INVALID` for anything that is none of the shapes. */
export async function senderOf(signer: unknown, options: Abortable): Promise<Sender> {
  if (typeof signer !== 'object' || signer === null) throw fail('SIGNER_INVALID', { value: preview(signer) })
  const shape = signer as {
    readonly address?: unknown
    readonly account?: unknown
    readonly privateKey?: unknown
    readonly provider?: unknown
    readonly request?: unknown
    readonly getAddress?: unknown
    readonly sendTransaction?: unknown
    readonly signTransaction?: unknown
  }
  if (typeof shape.getAddress === 'function' && typeof shape.sendTransaction === 'function') {
    const ethers = signer as EthersSignerLike
    const address = addressOf(await abortable(ethers.getAddress(), options))
    return isObject(ethers.provider) ? ethersWallet(ethers, address) : ethersLocal(ethers, address)
  }
  if (typeof shape.signTransaction !== 'function' && typeof shape.privateKey === 'string') {
    const account = accountOf(shape.privateKey)
    if (addressOf(account.address) !== addressOf(shape.address)) {
      throw fail('SIGNER_INVALID', {
        reason: 'the private key belongs to another address',
        address: preview(shape.address),
      })
    }
    return local(account)
  }
  if (isObject(shape.account)) {
    const account = shape.account as { readonly address?: unknown; readonly signTransaction?: unknown }
    if (typeof account.signTransaction === 'function') return local(account as LocalAccount)
    if (typeof shape.request === 'function') return eip1193(addressOf(account.address), signer as never)
  }
  if (typeof shape.signTransaction === 'function' && shape.address !== undefined) return local(signer as LocalAccount)
  if (isObject(shape.provider) && typeof (shape.provider as { request?: unknown }).request === 'function') {
    return eip1193(addressOf(shape.address), shape.provider as never)
  }
  throw fail('SIGNER_INVALID', { keys: Object.keys(shape).slice(0, 8).join(',') })
}

function local(account: LocalAccount): Sender {
  return {
    kind: 'local',
    address: addressOf(account.address),
    sign: async ({ to, data, valueWei, chainId, nonce, gas, fees }) =>
      rawTransaction(
        await account.signTransaction({
          chainId,
          nonce,
          to,
          data,
          value: valueWei,
          gas,
          ...(fees.type === 'eip1559'
            ? {
                type: 'eip1559',
                maxFeePerGas: fees.maxFeePerGasWei,
                maxPriorityFeePerGas: fees.maxPriorityFeePerGasWei,
              }
            : { type: 'legacy', gasPrice: fees.gasPriceWei }),
        } as never),
      ),
  }
}

/** ethers without a provider still signs: the numbers are ours, as for a local account. Hex suits versions 5 and 6 alike. */
function ethersLocal(signer: EthersSignerLike, address: Address): Sender {
  return {
    kind: 'local',
    address,
    sign: async ({ to, data, valueWei, chainId, nonce, gas, fees }) =>
      rawTransaction(
        await signer.signTransaction({
          chainId,
          nonce,
          to,
          data,
          value: toQuantity(valueWei),
          gasLimit: toQuantity(gas),
          ...(fees.type === 'eip1559'
            ? {
                type: 2,
                maxFeePerGas: toQuantity(fees.maxFeePerGasWei),
                maxPriorityFeePerGas: toQuantity(fees.maxPriorityFeePerGasWei),
              }
            : { type: 0, gasPrice: toQuantity(fees.gasPriceWei) }),
        } as never),
      ),
  }
}

function ethersWallet(signer: EthersSignerLike, address: Address): Sender {
  const provider = signer.provider as { getNetwork?: () => Promise<{ readonly chainId?: unknown }> }
  return {
    kind: 'wallet',
    address,
    chainId: async (options) => {
      if (typeof provider.getNetwork !== 'function') return undefined
      const network = await abortable(provider.getNetwork(), options)
      return Number(network.chainId)
    },
    send: async ({ to, data, valueWei, gas }, options) => {
      const transaction = { to, data, value: toQuantity(valueWei), gasLimit: toQuantity(gas) } as never
      return hashOf((await abortable(signer.sendTransaction(transaction), options))?.hash)
    },
  }
}

function eip1193(address: Address, provider: WalletProvider['provider']): Sender {
  const request = (method: string, params: readonly unknown[], options: Abortable): Promise<unknown> =>
    abortable(provider.request({ method, params } as never), options)
  return {
    kind: 'wallet',
    address,
    chainId: async (options) => Number(parseQuantity(await request('eth_chainId', [], options), 'chainId')),
    send: async ({ to, data, valueWei, gas }, options) => {
      const transaction = { from: address, to, data, value: toQuantity(valueWei), gas: toQuantity(gas) }
      return hashOf(await request('eth_sendTransaction', [transaction], options))
    },
  }
}

function rawTransaction(value: unknown): Hex {
  try {
    return toHex(parseHex(value, { name: 'raw transaction', sizeBytesMax: RAW_TRANSACTION_BYTES_MAX }))
  } catch (cause) {
    throw fail('SIGNER_INVALID', { reason: 'signTransaction() gave no raw transaction' }, { cause })
  }
}

function hashOf(value: unknown): TxHash {
  try {
    return parseTxHash(value)
  } catch (cause) {
    throw fail('SIGNER_INVALID', { reason: 'the wallet gave no transaction hash' }, { cause })
  }
}

function addressOf(value: unknown): Address {
  try {
    return parseAddress(value)
  } catch (cause) {
    throw fail('SIGNER_INVALID', { reason: 'the signer has no address' }, { cause })
  }
}

/** Errors here never show the key. */
function accountOf(privateKey: unknown): LocalAccount {
  const isBytes = privateKey instanceof Uint8Array && privateKey.length === 32
  if (!isBytes && !(typeof privateKey === 'string' && /^0x[0-9a-fA-F]{64}$/.test(privateKey))) {
    throw fail('SIGNER_INVALID', { reason: 'a private key is 32 bytes, or 0x and 64 hex digits' })
  }
  const key = isBytes ? privateKey.slice() : fromHex(privateKey as Hex)
  try {
    const address = getAddress(addressOfPrivateKey(key))
    return { address, signTransaction: async (transaction) => signedTransaction(transaction, key) }
  } catch {
    throw fail('SIGNER_INVALID', { reason: 'the private key is not a scalar of secp256k1' })
  }
}

/** As an account of viem signs it. Those bring a second implementation of the curve, whose tables cost every process that signs 50 ms. */
function signedTransaction(transaction: TransactionSerializable, key: Uint8Array): Hex {
  const signature = signDigest(keccak256(fromHex(serializeTransaction(transaction))), key)
  const [r, s, v] = [signature.subarray(0, 32), signature.subarray(32, 64), signature[64]!]
  return serializeTransaction(transaction, { r: toHex(r), s: toHex(s), v: BigInt(v), yParity: v - 27 })
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}
