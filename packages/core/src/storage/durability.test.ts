import { describe, expect, test } from 'vitest'
import type { Address, Root } from '../hex.ts'
import type { Member, Receipt } from '../types.ts'
import { durability } from './durability.ts'
import { domainOf } from './membership.ts'
import { addressOfPrivateKey, bitmapOf, signReceipt, type UnsignedReceipt } from './receipt.ts'

const keyOf = (holder: number) => new Uint8Array(32).fill(holder)
const members: Member[] = [1, 2, 3].map((id) => ({
  id,
  signer: addressOfPrivateKey(keyOf(id)),
  endpoint: `http://127.0.0.1:${8610 + id}`,
  domain: domainOf('local'),
  weight: 1n,
}))
const content: UnsignedReceipt = {
  chainId: 31337,
  registry: `0x${'aa'.repeat(20)}` as Address,
  registryVersion: 3,
  dataRoot: `0x${'bb'.repeat(32)}` as Root,
  entrySeq: 5,
  slots: bitmapOf([0]),
  fingerprintRoot: `0x${'00'.repeat(32)}`,
  blockNumber: 9,
}
const from = (holder: number, change: Partial<Receipt> = {}) => signReceipt({ ...content, ...change }, keyOf(holder))

test('three holders are durable when three are needed, and two may be lost', () => {
  const receipts = [from(1), from(2, { slots: bitmapOf([1]) }), from(3, { slots: bitmapOf([2]), registryVersion: 4 })]
  expect(durability(receipts, { needed: 3, members })).toEqual({
    holders: members.map(({ signer }) => signer),
    needed: 3,
    isDurable: true,
    lossesSurvived: 2,
  })
})

test('a holder that signs twice counts once', () => {
  const facts = durability([from(1), from(1, { slots: bitmapOf([1]) }), from(2)], { needed: 3, members })
  expect(facts).toMatchObject({ isDurable: false, lossesSurvived: 1 })
  expect(facts.holders).toHaveLength(2)
})

test('no receipts are never durable, even if none are needed', () => {
  expect(durability([], { needed: 0, members })).toEqual({
    holders: [],
    needed: 0,
    isDurable: false,
    lossesSurvived: 0,
  })
  expect(durability([from(1)], { needed: 1, members })).toMatchObject({ isDurable: true, lossesSurvived: 0 })
})

describe('a set of receipts is refused', () => {
  const refused = (second: Receipt, reason: string) =>
    expect(() => durability([from(1), second], { needed: 2, members })).toThrow(
      expect.objectContaining({ code: 'RECEIPT_INVALID', facts: expect.objectContaining({ reason }) }),
    )

  test('when one is of another chain, registry, root or entry', () => {
    refused(from(2, { chainId: 1 }), 'chainId differs')
    refused(from(2, { registry: `0x${'ab'.repeat(20)}` as Address }), 'registry differs')
    refused(from(2, { dataRoot: `0x${'bc'.repeat(32)}` as Root }), 'dataRoot differs')
    refused(from(2, { entrySeq: 6 }), 'entrySeq differs')
  })

  test('when one is signed by a stranger', () => {
    refused(from(4), 'the signer is no member')
  })

  test('when one is signed by another than it says', () => {
    refused({ ...from(4), signer: members[1]!.signer }, 'another key made this signature')
  })
})
