import {
  BATCH_SEGMENTS_MAX,
  parseAddress,
  SEGMENT_SIZE_BYTES,
  type Address,
  type Certificate,
  type Entry,
  type ErasureCode,
  type Net,
  type Receipt,
  type Root,
  type Submission,
} from '@weightless/core'
import { privateKeySigner, upload } from '@weightless/sdk'
import { describe, expect, test } from 'vitest'
import { createChance } from '../../../../sim/chance.ts'
import { codedObjectOf, type CodedObject } from '../../../../sim/compliance/codedObject.ts'
import {
  content,
  createFakeNetwork as createNetwork,
  isDown,
  keyOf,
  type FakeNetwork,
  type FakeNetworkOptions,
} from '../../../../sim/fakes/network.ts'
import { createMemoryIndexStore, type MemoryIndexStore } from '../../../../sim/memoryIndex.ts'
import { silentLogger } from '../../../../sim/silentLogger.ts'
import { createTestClock } from '../../test/testClock.ts'
import { createBudget } from './budget.ts'
import { COPIES_AFTER_MS, createParityGiver, OWED_MS_MIN, PARITY_BYTES_PER_MS, turnsOf } from './parity.ts'

const S = SEGMENT_SIZE_BYTES
const code: ErasureCode = { k: 4, m: 2 }
const never = new AbortController().signal

type Options = {
  readonly dayBytesMax?: number
  readonly addressDayBytesMax?: number
  readonly gateways?: readonly Address[]
  /** What an earlier process has left. */
  readonly store?: MemoryIndexStore
  readonly net?: Net
  /** Of copies. */
  readonly receipts?: readonly Receipt[]
}

/** A gateway's parity giver on a network where an official client's data entry is, and nothing of it at any node. */
function gatewayOn(network: FakeNetwork, object: CodedObject, options: Options = {}, account = 7) {
  const { store = createMemoryIndexStore(createChance(1)) } = options
  const index = store.open()
  // At the speed of the wall: no deadline of the product passes on a busy machine.
  const clock = createTestClock(1)
  let readCount = 0
  const taken: { readonly entry: Entry; readonly certificate: Certificate }[] = []
  const { dayBytesMax = 1024 ** 3, addressDayBytesMax = 1024 ** 3, gateways = [] } = options
  const client = network.client({}, options.net === undefined ? {} : { net: options.net }, account)
  const giver = createParityGiver(
    { code, gateways },
    {
      client,
      entries: {
        bySeq: (seq) => entriesOf(network).find((entry) => entry.seq === seq),
        byRoot: (root) => entriesOf(network).filter((entry) => entry.root === root),
      },
      certificates: {
        take: async (entry, certificate) => {
          taken.push({ entry, certificate })
          return {} as never
        },
      },
      ledger: {
        isCertified: ({ root }) => taken.some(({ entry }) => entry.root === root),
        counted: () => options.receipts ?? [],
      },
      reader: {
        read: async (_, at) => {
          readCount += 1
          return object.data.segments[at]
        },
      },
      budget: createBudget({ dayBytesMax, addressDayBytesMax }, { index, clock }),
      index,
      clock,
      logger: silentLogger,
    },
  )
  return { giver, taken, index, clock, client, readCount: () => readCount }
}

const logs = new WeakMap<FakeNetwork, Entry[]>()
function createFakeNetwork(options: FakeNetworkOptions = {}): FakeNetwork {
  const network = createNetwork(options)
  const log: Entry[] = []
  network.chain.onEntry((entry) => void log.push(entry))
  logs.set(network, log)
  return network
}
const entriesOf = (network: FakeNetwork): readonly Entry[] => logs.get(network)!

function submitted(network: FakeNetwork, ...submissions: readonly Submission[]): readonly Entry[] {
  return network.chain.submit(submissions)
}
const sentCount = (network: FakeNetwork): number => network.chain.calls.get('eth_sendRawTransaction') ?? 0

describe('what an official client has uploaded', () => {
  test.each([2 * S, 9 * S + 5, BATCH_SEGMENTS_MAX * 3 * S])(
    'of %i bytes gets parity in one transaction, its shards at their homes, and a certificate',
    async (sizeBytes) => {
      const network = createFakeNetwork()
      const object = codedObjectOf(sizeBytes, 1, code)
      const [entry] = submitted(network, object.data.submission)
      const { giver, taken } = gatewayOn(network, object)
      expect(giver.covers(entry!)).toBe(true)
      expect(await giver.give(entry!, { signal: never })).toBe('certified')
      expect(sentCount(network)).toBe(1)
      const [, parity] = entriesOf(network)
      expect(parity).toMatchObject({ seq: 1, root: object.parity.tree.root })
      expect(taken[0]!.entry.seq).toBe(0)
      expect(taken[0]!.certificate).toMatchObject({ dataRoot: entry!.root, entrySeq: 0, parity: { seq: 1 } })
      const holders = network.nodes.filter((node) => node.holds(entry!.root) + node.holds(parity!.root) > 0)
      expect(holders).toHaveLength(Math.min(4, sizeBytes / S) + 2)
      expect(giver.owedCount()).toBe(0)
      // Once more costs nothing.
      expect(await giver.give(entry!, { signal: never })).toBe('certified')
      expect(sentCount(network)).toBe(1)
    },
  )

  test('of one segment, and parity itself, get none', () => {
    const network = createFakeNetwork()
    const object = codedObjectOf(5 * S, 2, code)
    const [data, parity] = submitted(network, object.data.submission, object.parity.submission)
    const { giver } = gatewayOn(network, object)
    expect([data, parity].map((entry) => giver.covers(entry!))).toEqual([true, false])
    expect(giver.covers({ ...data!, sizeBytes: S })).toBe(false)
    expect(giver.covers({ ...data!, sizeBytes: 2 ** 50 })).toBe(false)
  })

  test('of one segment has a certificate of its copies, by the code, with its holders too', async () => {
    const network = createFakeNetwork()
    const object = codedObjectOf(5 * S, 2, code)
    const { seq, receipts } = await upload(network.client(), content(1_000, 1))
    const entry = entriesOf(network).find((one) => one.seq === seq)!
    const { giver, taken } = gatewayOn(network, object, { receipts })
    await giver.certify(entry, { signal: never })
    expect(taken).toHaveLength(1)
    expect(taken[0]).toMatchObject({ entry: { seq }, certificate: { dataRoot: entry.root, code, parity: null } })
    expect(network.nodes.filter((node) => node.certified(seq) !== undefined)).toHaveLength(3)
    // Once is enough, and what nobody has signed for gets none.
    await giver.certify(entry, { signal: never })
    expect(taken).toHaveLength(1)
    const poor = gatewayOn(network, object, { receipts: [] })
    await poor.giver.certify(entry, { signal: never })
    expect(poor.taken).toHaveLength(0)
  })

  test('that a stranger has submitted a bogus parity for gets the right one', async () => {
    const network = createFakeNetwork()
    const bogus = codedObjectOf(9 * S, 3, code, (parity) => parity.fill(7))
    const object = codedObjectOf(9 * S, 3, code)
    const [, entry] = submitted(network, bogus.parity.submission, object.data.submission)
    const { giver, taken } = gatewayOn(network, object)
    expect(await giver.give(entry!, { signal: never })).toBe('certified')
    expect(taken[0]!.certificate.parity).toEqual({ root: object.parity.tree.root, seq: 2 })
  })

  test('that strangers have submitted many times before, under tags of their own, gets it too', async () => {
    const network = createFakeNetwork()
    const object = codedObjectOf(9 * S, 30, code)
    for (let i = 0; i < 6; i++) {
      submitted(network, { ...object.data.submission, tags: Uint8Array.of(i) })
      submitted(network, { ...object.parity.submission, tags: Uint8Array.of(i) })
    }
    const [entry] = submitted(network, object.data.submission)
    const { giver, taken } = gatewayOn(network, object)
    expect(await giver.give(entry!, { signal: never })).toBe('certified')
    expect(taken[0]!.certificate).toMatchObject({ entrySeq: 12, parity: { root: object.parity.tree.root, seq: 13 } })
  })

  test('that a stranger has submitted before with the same tags gets it under its own number', async () => {
    const network = createFakeNetwork()
    const object = codedObjectOf(2 * S, 31, code)
    const [, entry] = submitted(network, object.data.submission, object.data.submission)
    const { giver, taken } = gatewayOn(network, object)
    expect(await giver.give(entry!, { signal: never })).toBe('certified')
    expect(taken[0]!.certificate.entrySeq).toBe(1)
  })

  test('twice, as a client does whose gateway was killed, is paid parity for once', async () => {
    const network = createFakeNetwork()
    const object = codedObjectOf(9 * S, 34, code)
    const entries = submitted(network, object.data.submission, object.data.submission)
    const { giver } = gatewayOn(network, object)
    const given = await Promise.all(entries.map((entry) => giver.give(entry, { signal: never })))
    expect(given).toEqual(['certified', 'certified'])
    expect([sentCount(network), entriesOf(network).length]).toEqual([1, 3])
  })

  test('whose parity is there already is not paid for again', async () => {
    const network = createFakeNetwork()
    const object = codedObjectOf(9 * S, 4, code)
    const [entry] = submitted(network, object.data.submission, object.parity.submission)
    const { giver, taken } = gatewayOn(network, object)
    expect(await giver.give(entry!, { signal: never })).toBe('certified')
    expect([sentCount(network), taken[0]!.certificate.parity!.seq]).toEqual([0, 1])
  })
})

describe('where parity is not to be had', () => {
  test.each([
    ['the budget of the day is spent', { dayBytesMax: 6 * S - 1 }],
    ['the budget of the sender is spent', { addressDayBytesMax: 6 * S - 1 }],
  ])('because %s, copies are made at once, and it is owed', async (_, options) => {
    const network = createFakeNetwork()
    const object = codedObjectOf(9 * S, 5, code)
    const [entry] = submitted(network, object.data.submission)
    const { giver } = gatewayOn(network, object, options)
    expect(await giver.give(entry!, { signal: never })).toBe('copies')
    expect([sentCount(network), giver.owedCount()]).toEqual([0, 1])
    // It stays so: nobody waits for it.
    expect(await giver.give(entry!, { signal: never })).toBe('copies')
  })

  test('because its homes made copies first, it is owed, and given after its rest', async () => {
    const network = createFakeNetwork()
    const object = codedObjectOf(9 * S, 41, code)
    const [entry] = submitted(network, object.data.submission)
    const { giver, clock, taken } = gatewayOn(network, object)
    await giver.owe(entry!)
    await giver.owe(entry!)
    expect([giver.owedCount(), taken.length]).toEqual([1, 0])
    expect(await giver.give(entry!, { signal: never })).toBe('copies')
    const over = new AbortController()
    clock.jump(OWED_MS_MIN)
    const done = giver.run({ signal: over.signal })
    await expect.poll(() => giver.owedCount()).toBe(0)
    expect([entriesOf(network).length, taken.length, sentCount(network)]).toEqual([2, 1, 1])
    over.abort()
    await done
  })

  test('is owed under whatever number its bytes have: what a reorganisation gave its number to is not paid for (sim seed 80872)', async () => {
    const network = createFakeNetwork()
    const [object, other] = [codedObjectOf(9 * S, 41, code), codedObjectOf(9 * S, 42, code)]
    const [entry] = submitted(network, object.data.submission)
    const { giver, clock } = gatewayOn(network, object)
    await giver.owe(entry!)
    const [stranger] = submitted(network, other.data.submission)
    logs.get(network)!.splice(0, 2, { ...stranger!, seq: 0 }, { ...entry!, seq: 1 })
    const over = new AbortController()
    clock.jump(OWED_MS_MIN)
    const done = giver.run({ signal: over.signal })
    await expect.poll(() => entriesOf(network).length).toBe(3)
    expect(entriesOf(network)[2]!.root).toBe(object.parity.tree.root)
    over.abort()
    await done
  })

  test('because the budget is spent, or members are too few, not one byte is read for it', async () => {
    const object = codedObjectOf(9 * S, 32, code)
    for (const [network, options] of [
      [createFakeNetwork(), { dayBytesMax: 0 }],
      [createFakeNetwork({ nodeCount: 4 }), {}],
    ] as const) {
      const [entry] = submitted(network, object.data.submission)
      const { giver, readCount } = gatewayOn(network, object, options)
      expect(await giver.give(entry!, { signal: never })).toBe('copies')
      expect([readCount(), giver.owedCount()]).toEqual([0, 1])
    }
  })

  test('because its transaction is not mined in time, it is owed and given once that is mined, paid once', async () => {
    const network = createFakeNetwork({ mining: 'manual' })
    const object = codedObjectOf(9 * S, 33, code)
    const [entry] = submitted(network, object.data.submission)
    const { giver, clock, taken } = gatewayOn(network, object)
    const given = giver.give(entry!, { signal: never })
    await expect.poll(() => sentCount(network)).toBe(1)
    clock.jump(COPIES_AFTER_MS + object.data.submission.sizeBytes / PARITY_BYTES_PER_MS)
    expect(await given).toBe('copies')
    expect(giver.owedCount()).toBe(1)
    network.chain.mine()
    const over = new AbortController()
    clock.jump(OWED_MS_MIN)
    const done = giver.run({ signal: over.signal })
    await expect.poll(() => giver.owedCount()).toBe(0)
    expect([entriesOf(network).length, taken.length]).toEqual([2, 1])
    over.abort()
    await done
  })

  test('because nodes are too few, it is given when they are back, and then nothing is owed', async () => {
    const network = createFakeNetwork()
    const object = codedObjectOf(9 * S, 6, code)
    const [entry] = submitted(network, object.data.submission)
    const { giver, clock, taken } = gatewayOn(network, object)
    for (const node of network.nodes.slice(0, 2)) node.fault = isDown
    expect(await giver.give(entry!, { signal: never })).toBe('copies')
    expect([sentCount(network), giver.owedCount()]).toEqual([0, 1])
    for (const node of network.nodes) node.fault = undefined
    const over = new AbortController()
    clock.jump(OWED_MS_MIN)
    const done = giver.run({ signal: over.signal })
    await expect.poll(() => giver.owedCount()).toBe(0)
    expect(taken).toHaveLength(1)
    over.abort()
    await done
  })

  test('because nodes are away, who waits already tries again after half a minute, and not before', async () => {
    const network = createFakeNetwork()
    const object = codedObjectOf(9 * S, 8, code)
    const [entry] = submitted(network, object.data.submission)
    const { giver, clock, readCount } = gatewayOn(network, object)
    const over = new AbortController()
    const done = giver.run({ signal: over.signal })
    for (const node of network.nodes.slice(0, 2)) node.fault = isDown
    expect(await giver.give(entry!, { signal: never })).toBe('copies')
    for (const node of network.nodes) node.fault = undefined
    clock.jump(OWED_MS_MIN / 2)
    for (let turn = 0; turn < 20; turn++) await new Promise((next) => setImmediate(next))
    expect(giver.owedCount()).toBe(1)
    const before = readCount()
    clock.jump(OWED_MS_MIN / 2)
    await expect.poll(() => giver.owedCount()).toBe(0)
    expect(readCount()).toBeGreaterThan(before)
    over.abort()
    await done
  })

  test('because a home fails half way, it is tried again, paid once', async () => {
    const network = createFakeNetwork()
    const object = codedObjectOf(9 * S, 7, code)
    const [entry] = submitted(network, object.data.submission)
    const { giver } = gatewayOn(network, object)
    for (const node of network.nodes.slice(0, 3)) {
      node.fault = async (request) => {
        if (request.method === 'PUT') throw new TypeError('fetch failed')
        return node.handle(request)
      }
    }
    expect(await giver.give(entry!, { signal: never })).toBe('later')
    for (const node of network.nodes) node.fault = undefined
    expect(await giver.give(entry!, { signal: never })).toBe('certified')
    expect(sentCount(network)).toBe(1)
    expect(entriesOf(network)).toHaveLength(2)
  })
})

test('data that no node has heard of yet is not paid for a second time', async () => {
  const network = createFakeNetwork()
  const object = codedObjectOf(9 * S, 8, code)
  const [entry] = submitted(network, object.data.submission)
  for (const node of network.nodes) {
    node.fault = async (request) => {
      const { pathname } = new URL(request.url)
      if (request.method !== 'GET' || pathname !== `/v1/entries/${entry!.root}`) return node.handle(request)
      return Response.json({ entries: [] })
    }
  }
  const { giver } = gatewayOn(network, object)
  expect(await giver.give(entry!, { signal: never })).toBe('certified')
  expect(entriesOf(network).map(({ root }) => root)).toEqual([entry!.root, object.parity.tree.root])
})

test('an entry that a reorganisation gave another number while its parity was being paid for has it paid for once', async () => {
  const network = createFakeNetwork({ mining: 'manual' })
  const object = codedObjectOf(9 * S, 41, code)
  const [entry] = submitted(network, object.data.submission)
  const { giver, taken } = gatewayOn(network, object)
  const over = new AbortController()
  const given = giver.give(entry!, { signal: over.signal }).catch(() => 'aborted')
  await expect.poll(() => sentCount(network)).toBe(1)
  over.abort()
  expect(await given).toBe('aborted')
  // The same bytes under another number, and with other tags.
  const [again] = submitted(network, { ...object.data.submission, tags: new Uint8Array([1]) })
  const asked = (): number => network.chain.calls.get('eth_getTransactionReceipt') ?? 0
  const before = asked()
  const second = giver.give(again!, { signal: never })
  await expect.poll(asked).toBeGreaterThan(before + 1)
  network.chain.mine()
  expect(await second).toBe('certified')
  expect(entriesOf(network).map(({ root }) => root)).toEqual([entry!.root, again!.root, object.parity.tree.root])
  expect(taken.map(({ entry: { seq }, certificate }) => [seq, certificate.parity?.seq])).toEqual([[1, 2]])
})

test('bytes that are not those of the root are nobody’s parity: nothing is paid', async () => {
  const network = createFakeNetwork()
  const object = codedObjectOf(9 * S, 9, code)
  const [entry] = submitted(network, object.data.submission)
  const { giver } = gatewayOn(network, codedObjectOf(9 * S, 10, code))
  expect(await giver.give(entry!, { signal: never })).toBe('later')
  expect(sentCount(network)).toBe(0)
})

/** A block comes when somebody waits for a transaction, and not before: it may be out and nowhere to be seen. */
function slowChain(network: FakeNetwork): Net {
  return {
    async fetch(request) {
      const isWaiting = (await request.clone().text()).includes('eth_getTransactionReceipt')
      if (isWaiting && request.url.startsWith(network.rpcUrl)) network.chain.mine()
      return network.net.fetch(request)
    },
  }
}

/** Ends the process that sends it at the n-th request: before the network has it, or after. */
function cutAt(
  network: FakeNetwork,
  n: number,
  when: 'before' | 'after',
): { readonly net: Net; readonly over: AbortController } {
  const over = new AbortController()
  const net = slowChain(network)
  let sent = 0
  const fetch = async (request: Request): Promise<Response> => {
    sent += 1
    if (sent < n) return net.fetch(request)
    // The body goes out whatever becomes of its sender.
    if (sent === n && when === 'after') await net.fetch(new Request(request, { signal: never }))
    over.abort(new Error('killed'))
    throw over.signal.reason
  }
  return { net: { fetch }, over }
}

test.each(['before', 'after'] as const)(
  'a gateway that is killed at any request, %s it is out, pays once, and its successor has the certificate',
  async (when) => {
    const object = codedObjectOf(2 * S, 40, code)
    for (let n = 1; ; n++) {
      const network = createFakeNetwork({ mining: 'manual' })
      const [entry] = submitted(network, object.data.submission)
      const store = createMemoryIndexStore(createChance(n))
      const { net, over } = cutAt(network, n, when)
      const first = gatewayOn(network, object, { store, net })
      const ended = await first.giver.give(entry!, { signal: over.signal }).catch(() => 'killed' as const)
      if (ended === 'certified') {
        expect(n).toBeGreaterThan(20)
        return
      }
      store.losePower()
      const { giver, taken } = gatewayOn(network, object, { store, net: slowChain(network) })
      expect([n, await giver.give(entry!, { signal: never })]).toEqual([n, 'certified'])
      network.chain.mine()
      expect([n, entriesOf(network).length, taken.length]).toEqual([n, 2, 1])
    }
  },
)

describe('of several gateways', () => {
  const gateways = [7, 8, 9].map((account) => parseAddress(privateKeySigner(keyOf(account)).address))

  test('each has its turn, in another order for each root', () => {
    const first = new Set<string>()
    for (let seed = 0; seed < 40; seed++) {
      const root = `0x${seed.toString(16).padStart(64, '0')}` as Root
      const turns = turnsOf(root, gateways)
      expect([...turns].sort()).toEqual([...gateways].sort())
      expect(turnsOf(root, [...gateways].reverse())).toEqual(turns)
      first.add(turns[0]!)
    }
    expect(first.size).toBe(3)
  })

  test('one pays, and who comes later finds its parity', async () => {
    const network = createFakeNetwork()
    const object = codedObjectOf(2 * S, 20, code)
    const [entry] = submitted(network, object.data.submission)
    const turns = turnsOf(entry!.root, gateways)
    const late = gatewayOn(network, object, { gateways }, 7 + gateways.indexOf(turns[2]!))
    const early = gatewayOn(network, object, { gateways }, 7 + gateways.indexOf(turns[0]!))
    const waiting = late.giver.give(entry!, { signal: never })
    expect(await early.giver.give(entry!, { signal: never })).toBe('certified')
    expect(entriesOf(network)).toHaveLength(2)
    late.clock.jump(10_000)
    expect(await waiting).toBe('certified')
    expect(entriesOf(network)).toHaveLength(2)
    expect(late.taken[0]!.certificate.fingerprints).toEqual(early.taken[0]!.certificate.fingerprints)
  })
})
