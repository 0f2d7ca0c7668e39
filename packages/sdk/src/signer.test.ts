import { fromHex, type Address } from '@weightless/core'
import { Wallet, JsonRpcProvider, Transaction } from 'ethers'
import { createWalletClient, custom, parseTransaction, recoverTransactionAddress } from 'viem'
import { mnemonicToAccount, privateKeyToAccount } from 'viem/accounts'
import { describe, expect, test } from 'vitest'
import { failureOf } from '../../../sim/fakes/outcome.ts'
import { privateKeySigner, senderOf, type Sender, type SignerLike, type Transaction as Unsigned } from './signer.ts'

const key = `0x${'4c'.repeat(32)}` as const
const address = privateKeyToAccount(key).address.toLowerCase() as Address
const unsigned: Unsigned = {
  chainId: 31337,
  nonce: 7,
  to: `0x${'ab'.repeat(20)}` as Address,
  data: '0x12345678',
  valueWei: 5n,
  gas: 21_000n,
  fees: { type: 'eip1559', maxFeePerGasWei: 3_000n, maxPriorityFeePerGasWei: 2n },
}
const legacy: Unsigned = { ...unsigned, fees: { type: 'legacy', gasPriceWei: 9n } }

/** A wallet that keeps its key: answers eth_chainId and eth_sendTransaction. */
function wallet() {
  const requests: { method: string; params?: unknown }[] = []
  const request = async (asked: { method: string; params?: unknown }): Promise<unknown> => {
    requests.push(asked)
    return asked.method === 'eth_chainId' ? '0x7a69' : `0x${'77'.repeat(32)}`
  }
  return { requests, provider: { request } }
}

describe('signers that sign here', () => {
  // The type annotation is part of the test: each of these is assignable without a cast.
  const signers: [string, SignerLike][] = [
    ['a viem account', privateKeyToAccount(key)],
    [
      'a viem wallet client with a local account',
      createWalletClient({ account: privateKeyToAccount(key), transport: custom(wallet().provider) }),
    ],
    ['an ethers wallet without a provider', new Wallet(key)],
    ['privateKeySigner of hex', privateKeySigner(key)],
    ['privateKeySigner of bytes', privateKeySigner(fromHex(key))],
    ['an address with its private key', { address: privateKeyToAccount(key).address, privateKey: key }],
  ]
  test.each(signers)('%s', async (_, signer) => {
    const sender = (await senderOf(signer, {})) as Sender & { kind: 'local' }
    expect(sender).toMatchObject({ kind: 'local', address })
    for (const transaction of [unsigned, legacy]) {
      const raw = await sender.sign(transaction)
      expect((await recoverTransactionAddress({ serializedTransaction: raw as never })).toLowerCase()).toBe(address)
      expect(parseTransaction(raw)).toMatchObject({
        chainId: 31337,
        nonce: 7,
        to: unsigned.to,
        data: '0x12345678',
        value: 5n,
        gas: 21_000n,
        type: transaction.fees.type,
      })
      expect(Transaction.from(raw).from!.toLowerCase()).toBe(address)
    }
  })

  test('an account from a mnemonic', async () => {
    const account = mnemonicToAccount('test test test test test test test test test test test junk')
    expect(await senderOf(account, {})).toMatchObject({ kind: 'local', address: account.address.toLowerCase() })
  })
})

describe('wallets that send by themselves', () => {
  const call = { to: unsigned.to, data: unsigned.data, valueWei: 5n, gas: 21_000n }

  test('an EIP-1193 provider with an address', async () => {
    const { provider, requests } = wallet()
    const signer: SignerLike = { address: privateKeyToAccount(key).address, provider }
    const sender = (await senderOf(signer, {})) as Sender & { kind: 'wallet' }
    expect([sender.kind, sender.address, await sender.chainId({})]).toEqual(['wallet', address, 31337])
    expect(await sender.send(call, {})).toBe(`0x${'77'.repeat(32)}`)
    expect(requests.at(-1)).toEqual({
      method: 'eth_sendTransaction',
      params: [{ from: address, to: call.to, data: call.data, value: '0x5', gas: '0x5208' }],
    })
  })

  test('a viem wallet client whose account is in the wallet', async () => {
    const { provider, requests } = wallet()
    const client = createWalletClient({ account: privateKeyToAccount(key).address, transport: custom(provider) })
    const signer: SignerLike = client
    const sender = (await senderOf(signer, {})) as Sender & { kind: 'wallet' }
    expect([sender.kind, sender.address]).toEqual(['wallet', address])
    expect(await sender.send(call, {})).toBe(`0x${'77'.repeat(32)}`)
    expect(requests.at(-1)).toMatchObject({ method: 'eth_sendTransaction' })
  })

  test('an ethers signer with a provider', async () => {
    const provider = { getNetwork: async () => ({ chainId: 31337n }) } as unknown as JsonRpcProvider
    const sent: unknown[] = []
    const ethers = new Wallet(key, provider)
    ethers.sendTransaction = async (transaction) => (sent.push(transaction), { hash: `0x${'77'.repeat(32)}` }) as never
    const signer: SignerLike = ethers
    const sender = (await senderOf(signer, {})) as Sender & { kind: 'wallet' }
    expect([sender.kind, sender.address, await sender.chainId({})]).toEqual(['wallet', address, 31337])
    expect(await sender.send(call, {})).toBe(`0x${'77'.repeat(32)}`)
    // Hex numbers: versions 5 and 6 of ethers read both.
    expect(sent).toEqual([{ to: call.to, data: call.data, value: '0x5', gasLimit: '0x5208' }])
  })

  test('an ethers 5 signer: numbers for chain ids, an object of its own', async () => {
    const signer: SignerLike = {
      getAddress: async () => privateKeyToAccount(key).address,
      sendTransaction: async () => ({ hash: `0x${'77'.repeat(32)}` }),
      signTransaction: async () => '0x',
      provider: { getNetwork: async () => ({ chainId: 31337 }) },
    }
    const sender = (await senderOf(signer, {})) as Sender & { kind: 'wallet' }
    expect([sender.kind, await sender.chainId({})]).toEqual(['wallet', 31337])
  })

  test('a wallet without an honest hash is refused', async () => {
    const signer = { address: privateKeyToAccount(key).address, provider: { request: async () => 'sent!' } }
    const sender = (await senderOf(signer, {})) as Sender & { kind: 'wallet' }
    expect(await failureOf(sender.send(call, {}))).toMatchObject({ code: 'SIGNER_INVALID' })
  })
})

describe('what is no signer', () => {
  test.each([
    ['nothing', undefined],
    ['a string', key],
    ['an empty object', {}],
    ['an address alone', { address }],
    ['a client without an account', createWalletClient({ transport: custom(wallet().provider) })],
    ['a key of another address', { address: `0x${'11'.repeat(20)}`, privateKey: key }],
    ['an account without an address', { signTransaction: async () => '0x', address: 'me' }],
  ])('%s', async (_, signer) => {
    expect(await failureOf(senderOf(signer, {}))).toMatchObject({ code: 'SIGNER_INVALID', blame: 'caller' })
  })

  test.each(['0x12', 'hello', new Uint8Array(31), new Uint8Array(32), `0x${'ff'.repeat(32)}`])(
    'a private key that is none: the error does not show it',
    (bad) => {
      try {
        privateKeySigner(bad)
        throw new Error('it was taken')
      } catch (error) {
        expect(error).toMatchObject({ code: 'SIGNER_INVALID' })
        expect(JSON.stringify(error)).not.toContain('ffffff')
        expect((error as Error).cause).toBeUndefined()
      }
    },
  )

  test('the key is not reachable from the signer', () => {
    expect(JSON.stringify(privateKeySigner(key))).not.toContain('4c4c4c')
    expect(Object.keys(privateKeySigner(key))).toEqual(['address', 'signTransaction'])
  })
})
