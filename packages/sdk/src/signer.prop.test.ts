import { toHex, type Address, type Hex } from '@weightless/core'
import * as fc from 'fast-check'
import { privateKeyToAccount } from 'viem/accounts'
import { expect, test } from 'vitest'
import { runs } from '../../../sim/runs.ts'
import { privateKeySigner, senderOf, type Sender, type Transaction } from './signer.ts'

const bytes = (count: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ minLength: count, maxLength: count })
/** Keys below the order of the group, which all of 31 bytes are. */
const keys = bytes(31).filter((key) => key.some((byte) => byte !== 0))
const amounts = fc.bigInt({ min: 0n, max: 2n ** 100n })
const transactions: fc.Arbitrary<Transaction> = fc.record({
  chainId: fc.integer({ min: 1, max: 2 ** 40 }),
  nonce: fc.nat(),
  to: bytes(20).map((to) => toHex(to) as Address),
  data: fc.uint8Array({ maxLength: 300 }).map(toHex),
  valueWei: amounts,
  gas: fc.bigInt({ min: 21_000n, max: 2n ** 40n }),
  fees: fc.oneof(
    amounts.map((gasPriceWei) => ({ type: 'legacy' as const, gasPriceWei })),
    fc.tuple(amounts, amounts).map(([tip, more]) => ({
      type: 'eip1559' as const,
      maxFeePerGasWei: tip + more,
      maxPriorityFeePerGasWei: tip,
    })),
  ),
})

test('what a private key signs here is, byte for byte, what an account of viem signs, under the same address', async () => {
  await fc.assert(
    fc.asyncProperty(keys, transactions, async (key, transaction) => {
      const whole = toHex(Uint8Array.of(0, ...key)) as Hex
      const [ours, theirs] = [privateKeySigner(whole), privateKeyToAccount(whole)]
      expect(ours.address).toBe(theirs.address)
      const [mine, its] = await Promise.all([ours, theirs].map(async (one) => await senderOf(one, {})))
      expect(await (mine as Local).sign(transaction)).toBe(await (its as Local).sign(transaction))
    }),
    runs(),
  )
})

type Local = Sender & { readonly kind: 'local' }
