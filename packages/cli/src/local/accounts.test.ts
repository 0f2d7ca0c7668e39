import { expect, test } from 'vitest'
import { mnemonicToAccount } from 'viem/accounts'
import { toHex } from '@weightless/core'
import { TEST_ACCOUNTS } from './accounts.ts'

test('the accounts are the first ten of the standard test mnemonic', () => {
  const mnemonic = 'test test test test test test test test test test test junk'
  const derived = Array.from({ length: 10 }, (_, addressIndex) => {
    const account = mnemonicToAccount(mnemonic, { addressIndex })
    return { address: account.address, privateKey: toHex(account.getHdKey().privateKey!) }
  })
  expect(TEST_ACCOUNTS).toEqual(derived)
})
