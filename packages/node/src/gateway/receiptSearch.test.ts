import type { Entry, Root } from '@weightless/core'
import { expect, test } from 'vitest'
import { createTestClock } from '../../test/testClock.ts'
import { fixedMembership } from '../flow/membership.ts'
import type { Peers } from '../peers/peers.ts'
import type { Ledger } from './ledger.ts'
import { createReceiptSearch } from './receiptSearch.ts'

test('a certificate is looked for once at a time, however long nodes that hang hold the search up', async () => {
  const clock = createTestClock()
  const ended: (() => void)[] = []
  const ledger = { isFinal: () => false, settle: async () => false, receipts: () => [], counted: () => [] }
  const search = createReceiptSearch(
    { replicas: 3 },
    {
      ledger: ledger as Partial<Ledger> as Ledger,
      membership: fixedMembership([]),
      peers: {} as Peers,
      clock,
      isSpooled: () => false,
      findCertificate: () => new Promise((resolve) => ended.push(resolve)),
      onShort: () => undefined,
      signal: new AbortController().signal,
    },
  )
  const root = `0x${'02'.repeat(32)}` as Root
  const entry = { seq: 7, blockHash: '0x01', root } as Partial<Entry> as Entry
  const poll = async (): Promise<void> => {
    const asked = search.ask(entry)
    for (let turn = 0; turn < 5; turn++) await Promise.resolve()
    clock.jump(1_000)
    polls.push(asked)
  }
  const polls: Promise<void>[] = []
  for (let i = 0; i < 5; i++) await poll()
  expect(ended).toHaveLength(1)
  ended[0]!()
  await Promise.all(polls)
  await poll()
  expect(ended).toHaveLength(2)
})
