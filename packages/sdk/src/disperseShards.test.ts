import {
  certificateFromJson,
  decodeBase64,
  membershipHash,
  protectedHomes,
  SEGMENT_SIZE_BYTES,
  shardLayoutOf,
  slotsOf,
  verifyCertificate,
  type ErasureCode,
  type Root,
} from '@weightless/core'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { codedObjectOf } from '../../../sim/compliance/codedObject.ts'
import {
  content,
  createFakeNetwork,
  hangs,
  isDown,
  type FakeNetwork,
  type NetworkNode,
} from '../../../sim/fakes/network.ts'
import { failureOf } from '../../../sim/fakes/outcome.ts'
import { runs } from '../../../sim/runs.ts'
import { upload, type ReadAt, type StoredResult } from './index.ts'

const S = SEGMENT_SIZE_BYTES
const code: ErasureCode = { k: 4, m: 2 }
const homesOf = (network: FakeNetwork, root: string, sizeBytes: number, of = code): ReadonlyMap<number, NetworkNode> =>
  new Map(
    protectedHomes(
      { dataRoot: root as Root, sizeBytes, code: of },
      network.nodes.map(({ member }) => member),
    ).map(({ slot, member }) => [slot, network.nodes.find(({ url }) => url === member.endpoint)!]),
  )
const sentCount = (network: FakeNetwork): number => network.chain.calls.get('eth_sendRawTransaction') ?? 0
const slotsBySigner = ({ receipts }: StoredResult): Record<string, readonly number[]> =>
  Object.fromEntries(receipts.map(({ signer, slots }) => [signer, slotsOf(slots)]))
/** As a stranger would check it, who knows the chain and the members. */
const verify = (network: FakeNetwork, { certificate }: StoredResult) => {
  const { chainId, registry } = network.chain
  const hash = membershipHash(network.nodes.map(({ member }) => member))
  const parsed = certificateFromJson(JSON.parse(JSON.stringify(certificate)))
  return verifyCertificate(parsed, { chainId, registry, membershipHashOf: () => hash })
}
const rootOf = (sizeBytes: number, seed: number): Root => codedObjectOf(sizeBytes, seed, code).data.tree.root

describe('an upload under a code', () => {
  test.each([
    [2 * S, { k: 4, m: 2 }],
    [8 * S, { k: 4, m: 2 }],
    [9 * S + 5, { k: 4, m: 2 }],
    [7 * S + 1, { k: 1, m: 2 }],
    [26 * S, { k: 10, m: 4 }],
    [3 * S + 10, { k: 2, m: 1 }],
  ])(
    '%i bytes at %j: two entries in one transaction, a slot at each home, and a certificate',
    async (sizeBytes, of) => {
      const network = createFakeNetwork({ nodeCount: of.k + of.m })
      const bytes = content(sizeBytes, 3)
      const expected = codedObjectOf(sizeBytes, 3, of)
      const result = await upload(network.client(), bytes, { code: of, tags: Uint8Array.of(7) })
      expect(sentCount(network)).toBe(1)
      expect(result).toMatchObject({ stage: 'durable', seq: 0, root: expected.data.tree.root, reused: false })
      expect(result.parity).toEqual({ root: expected.parity.tree.root, seq: 1, txHash: result.txHash })
      expect(result.lossesSurvived).toBe(of.m)
      for (const [slot, node] of homesOf(network, result.root, sizeBytes, of)) {
        expect(slotsBySigner(result)[node.signer]).toEqual([slot])
        const { of: entry, segments } = expected.shardsOf(slot)
        const root = entry === 'data' ? result.root : result.parity!.root
        // With k = 1 and m = 1 they would be of one root.
        expect(node.holds(root)).toBe(segments.length)
        expect(node.certified(0)).toEqual(result.certificate)
      }
      const facts = verify(network, result)
      expect(facts).toMatchObject({ isDurable: true, lossesSurvived: of.m, unproven: [], disputed: [] })
      expect(facts.proven).toEqual(Array.from({ length: of.m }, (_, j) => of.k + j))
    },
  )

  test('any code and any size, around the ends of stripes too', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 3 }),
        fc.constantFrom(-S, -S + 1, -1, 0, 1, 256, S + 300),
        async (k, m, stripes, by) => {
          const sizeBytes = Math.max(S + 1, stripes * k * S + by)
          const network = createFakeNetwork({ nodeCount: k + m })
          const result = await upload(network.client(), content(sizeBytes, 1), { code: { k, m } })
          expect(verify(network, result)).toMatchObject({ isDurable: true, lossesSurvived: m })
        },
      ),
      runs(0.1),
    )
  })

  test('one segment has 1 + m copies, one transaction of one entry, and a certificate of copies', async () => {
    const network = createFakeNetwork()
    const result = await upload(network.client(), content(1_000, 1), { code: '4+2' })
    expect(result).toMatchObject({ lossesSurvived: 2, certificate: { parity: null, code } })
    expect(result.parity).toBeUndefined()
    expect(result.receipts).toHaveLength(3)
    expect(verify(network, result)).toMatchObject({ isDurable: true, lossesSurvived: 2 })
    expect(network.nodes.filter((node) => node.certified(0) !== undefined)).toHaveLength(3)
  })

  test('`accepted` sends nothing, `anchored` has both entries and no shards', async () => {
    const network = createFakeNetwork()
    const bytes = content(5 * S, 1)
    expect(await upload(network.client(), bytes, { code, until: 'accepted' })).toMatchObject({ stage: 'accepted' })
    expect(network.log).toEqual([])
    const result = await upload(network.client(), bytes, { code, until: 'anchored' })
    expect(result).toMatchObject({ stage: 'anchored', seq: 0, parity: { seq: 1 }, receipts: [] })
    expect(network.log.filter((line) => line.startsWith('PUT'))).toEqual([])
  })

  test('progress never goes back and ends at the size', async () => {
    const network = createFakeNetwork()
    const stored: number[] = []
    const bytes = content(50 * S, 1)
    await upload(network.client(), bytes, {
      code,
      onProgress: ({ phase, doneBytes }) => void (phase === 'store' && stored.push(doneBytes)),
    })
    expect(stored).toEqual([...stored].sort((a, b) => a - b))
    expect(stored.at(-1)).toBe(bytes.length)
    expect(stored.length).toBeGreaterThan(3)
  })

  test.each(['0+2', '4', 'four', { k: 4, m: 0 }, { k: 200, m: 57 }])('the code %j is refused', async (wrong) => {
    const network = createFakeNetwork()
    const error = await failureOf(upload(network.client(), content(5 * S, 1), { code: wrong }))
    expect(['CODE_INVALID', 'OPTION_INVALID']).toContain(error.code)
    expect(network.log).toEqual([])
  })

  test('a code and a number of copies are not both meant', async () => {
    const error = await failureOf(upload(createFakeNetwork().client(), content(1, 1), { code, replicas: 3 }))
    expect(error).toMatchObject({ code: 'OPTION_INVALID', facts: { name: 'replicas' } })
  })
})

describe('what is there already', () => {
  const bytes = content(9 * S, 2)

  test('is not paid for again: both entries serve, and nothing is sent', async () => {
    const network = createFakeNetwork()
    const first = await upload(network.client(), bytes, { code })
    const putsBefore = network.log.filter((line) => line.includes('/segments') && line.startsWith('PUT')).length
    const again = await upload(network.client({}, {}, 1), bytes, { code })
    expect(again).toMatchObject({ reused: true, seq: 0, parity: { seq: 1 }, lossesSurvived: 2 })
    expect(again.certificate).toEqual(first.certificate)
    expect(sentCount(network)).toBe(1)
    expect(network.log.filter((line) => line.includes('/segments') && line.startsWith('PUT'))).toHaveLength(putsBefore)
  })

  test('of a slot whose shards are partly there only the rest is sent', async () => {
    const bytes = content(100 * S, 6)
    const puts = (network: FakeNetwork): number =>
      network.log.filter((line) => line.includes('/segments') && line.startsWith('PUT')).length
    const whole = createFakeNetwork()
    const expected = await upload(whole.client(), bytes, { code })
    const network = createFakeNetwork()
    for (const node of network.nodes) {
      let taken = 0
      node.fault = async (request) => {
        if (request.method === 'PUT' && ++taken > 1) throw new TypeError('fetch failed')
        return node.handle(request)
      }
    }
    expect(await failureOf(upload(network.client(), bytes, { code }))).toMatchObject({ code: 'DURABILITY_NOT_REACHED' })
    for (const node of network.nodes) node.fault = undefined
    const before = puts(network)
    const result = await upload(network.client({}, {}, 1), bytes, { code })
    expect(result).toMatchObject({ reused: true, lossesSurvived: 2 })
    expect(result.certificate!.fingerprints).toEqual(expected.certificate!.fingerprints)
    expect(puts(network) - before).toBe(puts(whole) - network.nodes.length)
  })

  test('data without parity gets its parity alone', async () => {
    const network = createFakeNetwork()
    await upload(network.client(), bytes)
    const result = await upload(network.client(), bytes, { code })
    expect(result).toMatchObject({ seq: 0, parity: { seq: 1 }, reused: false, lossesSurvived: 2 })
    expect(result.parity!.txHash).not.toBe(result.txHash)
    expect(sentCount(network)).toBe(2)
    expect(verify(network, result)).toMatchObject({ isDurable: true })
  })

  test('parity under another code, or of wrong bytes, is none', async () => {
    const network = createFakeNetwork()
    const bogus = codedObjectOf(bytes.length, 2, code, (parity) => (parity[5]! ^= 1))
    const other = codedObjectOf(bytes.length, 2, { k: 3, m: 2 })
    network.chain.submit([bogus.data.submission, bogus.parity.submission, other.parity.submission])
    const result = await upload(network.client(), bytes, { code })
    expect(result).toMatchObject({ seq: 0, parity: { seq: 3 }, reused: false })
    expect(verify(network, result)).toMatchObject({ isDurable: true, proven: [4, 5] })
  })

  test('right parity of a stranger serves', async () => {
    const network = createFakeNetwork()
    const coded = codedObjectOf(bytes.length, 2, code)
    network.chain.submit([coded.parity.submission, coded.data.submission])
    const result = await upload(network.client(), bytes, { code })
    expect(result).toMatchObject({ seq: 1, parity: { seq: 0 }, reused: true })
    expect(sentCount(network)).toBe(0)
    expect(verify(network, result)).toMatchObject({ isDurable: true })
  })

  test('`resubmit` adds both entries', async () => {
    const network = createFakeNetwork()
    await upload(network.client(), bytes, { code })
    const again = await upload(network.client(), bytes, { code, onExisting: 'resubmit' })
    expect(again).toMatchObject({ seq: 2, parity: { seq: 3 }, reused: false })
  })
})

describe('nodes that fail', () => {
  const sizeBytes = 13 * S + 9
  const bytes = content(sizeBytes, 4)
  const root = rootOf(sizeBytes, 4)

  test('a slot whose home fails goes to the next node in its order, read again from the start', async () => {
    const network = createFakeNetwork({ nodeCount: 8 })
    const home = homesOf(network, root, sizeBytes).get(1)!
    let puts = 0
    home.fault = async (request, node) => {
      if (request.method === 'PUT' && ++puts === 2) throw new TypeError('fetch failed')
      return node.handle(request)
    }
    const result = await upload(network.client(), bytes, { code })
    expect(verify(network, result)).toMatchObject({ isDurable: true, lossesSurvived: 2 })
  })

  test.each([0, 2, 5])(
    'with no node to spare and the home of slot %i down, data has its slots and parity gives way',
    async (slot) => {
      const network = createFakeNetwork()
      homesOf(network, root, sizeBytes).get(slot)!.fault = isDown
      const result = await upload(network.client(), bytes, { code })
      const held = Object.values(slotsBySigner(result)).flat()
      expect(held.sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4])
      expect(result.lossesSurvived).toBe(1)
      expect(verify(network, result)).toMatchObject({ isDurable: true, lossesSurvived: 1 })
    },
  )

  test('two nodes too few are told before anything is paid', async () => {
    const network = createFakeNetwork()
    const homes = homesOf(network, root, sizeBytes)
    homes.get(0)!.fault = isDown
    homes.get(5)!.fault = isDown
    const error = await failureOf(upload(network.client(), bytes, { code }))
    expect(error).toMatchObject({ code: 'NODES_TOO_FEW', facts: { needed: 5, reachable: 4 } })
    expect(sentCount(network)).toBe(0)
  })

  test('the owner says how many losses it must survive: with one node less, four of 4+2 are too few or enough', async () => {
    const network = createFakeNetwork()
    homesOf(network, root, sizeBytes).get(5)!.fault = isDown
    const client = network.client()
    const error = await failureOf(upload(client, bytes, { code, lossesNeeded: 2 }))
    expect(error).toMatchObject({ code: 'NODES_TOO_FEW', facts: { needed: 6, reachable: 5 } })
    expect(await upload(client, bytes, { code, lossesNeeded: 1 })).toMatchObject({
      stage: 'durable',
      lossesSurvived: 1,
    })
    homesOf(network, root, sizeBytes).get(4)!.fault = isDown
    expect(await failureOf(upload(client, bytes, { code }))).toMatchObject({ code: 'NODES_TOO_FEW' })
    expect(await upload(client, bytes, { code, lossesNeeded: 0 })).toMatchObject({
      stage: 'durable',
      lossesSurvived: 0,
    })
  })

  test('the same for an object of one segment, which has copies', async () => {
    const network = createFakeNetwork({ nodeCount: 2 })
    const one = content(1_000, 4)
    expect(await failureOf(upload(network.client(), one, { code, lossesNeeded: 2 }))).toMatchObject({
      code: 'NODES_TOO_FEW',
      facts: { needed: 3, reachable: 2 },
    })
    expect(await upload(network.client(), one, { code })).toMatchObject({ lossesSurvived: 1 })
  })

  test.each([-1, 3, 0.5, NaN])(
    'a number of losses that no code of ours can have, %d, is refused',
    async (lossesNeeded) => {
      const network = createFakeNetwork()
      const error = await failureOf(upload(network.client(), bytes, { code, lossesNeeded }))
      expect(error).toMatchObject({ code: 'OPTION_INVALID', facts: { name: 'lossesNeeded' } })
      expect(await failureOf(upload(network.client(), bytes, { lossesNeeded: 1 }))).toMatchObject({
        code: 'OPTION_INVALID',
      })
      expect(network.log).toEqual([])
    },
  )

  test('what fails after the payment is named, slot by slot, and a later upload completes it', async () => {
    const network = createFakeNetwork()
    const homes = homesOf(network, root, sizeBytes)
    for (const slot of [0, 1]) {
      homes.get(slot)!.fault = async (request, node) => {
        if (request.method === 'PUT') throw new TypeError('fetch failed')
        return node.handle(request)
      }
    }
    const error = await failureOf(upload(network.client(), bytes, { code }))
    expect(error).toMatchObject({
      code: 'DURABILITY_NOT_REACHED',
      facts: { seq: 0, needed: 5, reached: 4, missingSlots: '4,5' },
    })
    expect(error.facts['holders']).toContain(`slot 2 at ${homes.get(2)!.url}`)
    expect(error.facts['failures']).toContain(homes.get(0)!.url)
    for (const node of network.nodes) node.fault = undefined
    const result = await upload(network.client({}, {}, 1), bytes, { code })
    expect(result).toMatchObject({ reused: true, lossesSurvived: 2 })
    expect(sentCount(network)).toBe(1)
  })

  test('a node that hangs does not hold the others up for ever', async () => {
    const network = createFakeNetwork({ nodeCount: 7 })
    homesOf(network, root, sizeBytes).get(3)!.fault = hangs
    const result = await upload(network.client(), bytes, { code })
    expect(result.lossesSurvived).toBe(2)
  }, 30_000)

  test('a holder that signs for other bytes is replaced', async () => {
    const network = createFakeNetwork({ nodeCount: 7 })
    const liar = homesOf(network, root, sizeBytes).get(4)!
    liar.fault = async (request, node) => {
      const response = await node.handle(request)
      if (request.method === 'GET' || !request.url.includes('/segments')) return response
      // Keeps parity of other bytes from now on, and signs for that.
      const other = codedObjectOf(sizeBytes, 4, code, (parity) => (parity[1]! ^= 1))
      for (const segment of other.shardsOf(4).segments)
        node.plant(codedObjectOf(sizeBytes, 4, code).parity.tree.root, segment)
      return response
    }
    const result = await upload(network.client(), bytes, { code })
    expect(Object.keys(slotsBySigner(result))).not.toContain(liar.signer)
    expect(verify(network, result)).toMatchObject({ isDurable: true, proven: [4, 5], unproven: [] })
  })

  test('a certificate that a node does not take is no error', async () => {
    const network = createFakeNetwork()
    network.nodes[2]!.fault = async (request, node) =>
      request.url.includes('/certificate') ? new Response('no', { status: 500 }) : node.handle(request)
    const result = await upload(network.client(), bytes, { code })
    expect(result.lossesSurvived).toBe(2)
    expect(network.nodes.filter((node) => node.certified(0) !== undefined)).toHaveLength(5)
  })

  test('a source that changed under way is told, though only parity shows it', async () => {
    const network = createFakeNetwork()
    const changing = bytes.slice()
    let reads = 0
    const source: ReadAt = {
      sizeBytes,
      read: async (start, end) => {
        const copy = changing.slice(start, end)
        if (start <= 5 * S && end > 5 * S && ++reads > 1) copy[5 * S - start]! ^= 1
        return copy
      },
    }
    expect(await failureOf(upload(network.client(), source, { code }))).toMatchObject({
      code: 'SOURCE_CHANGED',
      facts: { segmentIndex: 5 },
    })
  })

  test('an aborted upload leaves nothing running', async () => {
    const network = createFakeNetwork()
    const controller = new AbortController()
    const reason = new Error('enough')
    await expect(
      upload(network.client(), content(60 * S, 1), {
        code,
        signal: controller.signal,
        onProgress: ({ phase, doneBytes }) => void (phase === 'store' && doneBytes > 0 && controller.abort(reason)),
      }),
    ).rejects.toBe(reason)
    await new Promise((next) => setImmediate(next))
    expect(network.open.size).toBe(0)
  })
})

test('what a certificate says of data is what the bytes give, not what holders say', async () => {
  const network = createFakeNetwork()
  const sizeBytes = 6 * S
  const result = await upload(network.client(), content(sizeBytes, 8), { code })
  const expected = codedObjectOf(sizeBytes, 8, code)
  for (const [i, { slots }] of result.receipts.entries())
    expect(decodeBase64(result.certificate!.fingerprints[i]!)).toEqual(expected.fingerprintsOf(slotsOf(slots)))
  expect(shardLayoutOf(sizeBytes, code)!.stripeCount).toBe(2)
})
