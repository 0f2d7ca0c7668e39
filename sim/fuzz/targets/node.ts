import { concat, isFailure, segmentDataSize } from '@weightless/core'
import { crc32, parseToml } from '@weightless/host'
import { createRpc } from '@weightless/sdk'
import { parseRolesConfig } from '../../../packages/node/src/config.ts'
import { createChainReader } from '../../../packages/node/src/flow/chainReader.ts'
import { parseRange } from '../../../packages/node/src/gateway/range.ts'
import { rootOfPath, wholeQuery } from '../../../packages/node/src/http/query.ts'
import {
  decodeSlot,
  encodeSlotHead,
  encodeTombstone,
  parseSlotHeader,
  SLOT_CLASS_BYTES,
} from '../../../packages/node/src/store/slot.ts'
import { createSegmentStore } from '../../../packages/node/src/store/store.ts'
import { createTestChain, FLOW, REGISTRY } from '../../../packages/node/test/testChain.ts'
import { memberOf } from '../../../packages/node/test/testRoles.ts'
import { createChance } from '../../chance.ts'
import { rootNumber, segmentOf } from '../../compliance/storeSamples.ts'
import { createMemoryDisk } from '../../memoryDisk.ts'
import { createMemoryIndexStore } from '../../memoryIndex.ts'
import { silentLogger } from '../../silentLogger.ts'
import { insist, laterOutcomeOf, outcomeOf, type FuzzTarget } from '../engine.ts'
import { largeObject, smallObject, text } from './core.ts'
import { tomlTexts } from './host.ts'

const reader = createChainReader(
  { flow: FLOW, registry: REGISTRY },
  {
    rpc: createRpc('http://nobody.test/', {
      net: { fetch: async () => Promise.reject(new Error('nobody')) },
      clock: { nowMs: () => 0, sleep: async () => undefined, deadline: () => new AbortController().signal },
      random: { bytes: (sizeBytes) => new Uint8Array(sizeBytes) },
    }),
  },
)
const eventLogs: FuzzTarget = {
  name: 'event-logs',
  from: 'the RPC of the chain that is followed',
  kind: 'json',
  corpus: async () => {
    const chain = createTestChain()
    const signer = `0x${'77'.repeat(20)}` as typeof FLOW
    chain.submit(smallObject.submission, { ...largeObject.submission, tags: Uint8Array.of(1, 2, 3) })
    chain.change(
      { id: 1, member: memberOf(1, { url: 'http://node.test', signer }) },
      { id: 2, member: memberOf(2, { url: 'http://other.test', signer: FLOW }) },
    )
    chain.change({ id: 2, member: undefined })
    const params = [{ fromBlock: '0x0', toBlock: '0xff', address: [FLOW, REGISTRY], topics: [reader.topics] }]
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'eth_getLogs', params })
    const response = await chain.handle(new Request('http://chain.test/', { method: 'POST', body }))
    const { result } = (await response.json()) as { readonly result: readonly unknown[] }
    insist(result.length === 5, 'a log for each event')
    return result.map((log) => JSON.stringify(log))
  },
  words: [
    '"topics":',
    '"data":"0x',
    '"removed":true',
    '"blockNumber":"0x',
    '"address":',
    '0'.repeat(64),
    'f'.repeat(64),
  ],
  run: (input) => {
    let log: unknown
    try {
      log = JSON.parse(text(input))
    } catch {
      return 'no JSON'
    }
    let kind = 'other'
    const word = outcomeOf(() => {
      const event = reader.decode(log)
      if (event === undefined) return
      kind = event.kind
      if (event.kind !== 'entry') return
      const { sizeBytes, nodes, paddedChunkCount, seq } = event.entry
      insist(Number.isSafeInteger(seq) && sizeBytes > 0 && nodes.length > 0, 'an entry has a place, a size and nodes')
      insist(paddedChunkCount * 256 >= sizeBytes, 'an entry holds its bytes')
      segmentDataSizeOf(event.entry)
    })
    return word === 'ok' ? kind : word.slice(0, 40)
  },
}

/** An entry may be too large for anybody to hold: that is said with a code. */
function segmentDataSizeOf({ sizeBytes }: { readonly sizeBytes: number }): void {
  try {
    segmentDataSize({ sizeBytes } as never, 0)
  } catch (error) {
    insist(isFailure(error), 'a size is refused with a code')
  }
}

const config: FuzzTarget = {
  name: 'configuration',
  from: 'configuration files',
  kind: 'text',
  corpus: tomlTexts,
  words: [
    '[chain]',
    '[storage]',
    '[gateway]',
    'listen = ',
    '"127.0.0.1:0"',
    'membership = "static"',
    'static_members = []',
    '"1/4"',
    '-1',
    '1e9',
    'true',
  ],
  run: (input) => {
    let table: Record<string, unknown> | undefined
    const word = outcomeOf(() => (table = parseToml(text(input))))
    if (table === undefined) return word.slice(0, 40)
    let parsed: ReturnType<typeof parseRolesConfig> | undefined
    const read = outcomeOf(() => (parsed = parseRolesConfig(table!)))
    if (parsed !== undefined) {
      insist(Object.isFrozen(parsed) || parsed.chain.rpcUrl !== '', 'a configuration names its chain')
      for (const listen of [parsed.storage?.listen, parsed.gateway?.listen])
        if (listen !== undefined)
          insist(listen.port >= 0 && listen.port < 65_536 && listen.host !== '', 'a listener has an address')
    }
    return read.slice(0, 50)
  },
}

const ranges: FuzzTarget = {
  name: 'ranges',
  from: 'the range header of any HTTP client',
  kind: 'text',
  corpus: ['bytes=0-4', 'bytes=5-', 'bytes=-5', 'bytes=0-1,3-4', ' bytes=7-6 ', 'bytes=999999999999999-'],
  words: ['bytes=', '-', ',', '0', '18446744073709551615'],
  run: (input) => {
    const header = text(input)
    const words = [0, 1, 10, 2 ** 40].map((sizeBytes) => {
      const wanted = parseRange(header, sizeBytes)
      if (wanted.kind === 'part')
        insist(wanted.first >= 0 && wanted.first <= wanted.last && wanted.last < sizeBytes, 'a part lies inside')
      return wanted.kind
    })
    return words.join(' ')
  },
}

const queries: FuzzTarget = {
  name: 'queries',
  from: 'the address of any HTTP request',
  kind: 'text',
  corpus: [
    'seq=0&slot=1',
    'seq=9007199254740991&slot=255',
    `from=0&count=16&root=${smallObject.tree.root}`,
    'seq=%30&seq=1',
    smallObject.tree.root,
  ],
  words: ['seq=', 'slot=', '&', '%', '+', '0x', '١'],
  run: (input) => {
    const query = new URLSearchParams(text(input))
    return [
      outcomeOf(() => {
        const value = wholeQuery(query, 'seq', { least: 0, most: Number.MAX_SAFE_INTEGER })
        insist(value === undefined || Number.isSafeInteger(value), 'a number is whole')
      }),
      outcomeOf(() => {
        const value = wholeQuery(query, 'slot', { least: 0, most: 255 })
        insist(value === undefined || (value >= 0 && value <= 255), 'a number is within its range')
      }),
      outcomeOf(() => rootOfPath(text(input))),
    ].join(' ')
  },
}

const slotAt = { classId: 0, slot: 3, sequence: 2 ** 40 + 5 }
const segmentInSlot = { root: new Uint8Array(32).fill(9), ...segmentOf(1, 2, { sizeBytes: 256, depth: 3 }) }
const slots: FuzzTarget = {
  name: 'slots',
  from: 'the own disk, after a crash or with bits that rot',
  kind: 'bytes',
  corpus: [
    concat([encodeSlotHead(segmentInSlot, slotAt, crc32), segmentInSlot.data]),
    encodeTombstone(slotAt, segmentInSlot.root, crc32),
    new Uint8Array(4096),
  ],
  run: (input) => {
    const parsed = parseSlotHeader(input)
    if (parsed === undefined) return 'none'
    insist(parsed.depth <= 64 && parsed.dataBytes < SLOT_CLASS_BYTES[parsed.classId]!, 'the numbers are within bounds')
    const decoded = decodeSlot(input, parsed, crc32)
    if (decoded === undefined) return `${parsed.kind}, no segment`
    const again = concat([encodeSlotHead(decoded, parsed, crc32), decoded.data])
    insist(
      again.every((byte, i) => byte === input[i]),
      'one record for one segment',
    )
    return 'segment'
  },
}

const storeClock = {
  nowMs: () => 1_700_000_000_000,
  sleep: async () => undefined,
  deadline: () => new AbortController().signal,
}
const stored = [0, 1, 2, 3].map((at) => segmentOf(1, at, { sizeBytes: 256 * (1 + at * 20), depth: at }))
/** The input says which bytes of the files and which rows of the index are other than they were written. */
const damagedStores: FuzzTarget = {
  name: 'damaged-stores',
  isWhole: true,
  from: 'the own disk and index, damaged',
  kind: 'bytes',
  corpus: [
    Uint8Array.of(0, 0, 0, 70, 255),
    Uint8Array.of(1, 0, 16, 9, 1, 2, 2, 5, 200, 3),
    Uint8Array.of(3, 1, 2, 3, 4, 4, 0, 0, 0, 0),
    new Uint8Array(25),
  ],
  run: async (input) => {
    const chance = createChance(1)
    const disk = createMemoryDisk(chance)
    const indexes = createMemoryIndexStore(chance)
    const open = (): ReturnType<typeof createSegmentStore> =>
      createSegmentStore(
        { dataDir: '/data', capacityBytes: 2 ** 30, reservedSlotCount: 8 },
        { disk, index: indexes.open(), clock: storeClock, logger: silentLogger, crc32 },
      )
    const store = await open()
    await store.put(rootNumber(1), stored)
    if ((input[0] ?? 0) % 2 === 0) await store.close()
    disk.endProcess()
    indexes.endProcess()
    for (let i = 1; i + 4 < input.length && i < 60; i += 5) {
      const [what, high, low, at, value] = input.subarray(i, i + 5) as unknown as [
        number,
        number,
        number,
        number,
        number,
      ]
      if (what % 3 === 0) {
        const files = await disk.list('/data')
        disk.flipBit(`/data/${files[what % files.length]!}`, ((high << 8) | low) % 20_000)
      } else {
        const index = indexes.open()
        const rows = [...index.range({ from: Uint8Array.of(0), to: Uint8Array.of(255) })]
        const row = rows[((high << 8) | low) % Math.max(1, rows.length)]
        if (row === undefined) continue
        const changed = what % 3 === 1 ? row.value.slice() : row.value.slice(0, at % (row.value.length + 1))
        if (changed.length > 0) changed[at % changed.length] = value
        await index.transaction([{ key: row.key, value: changed }], { durability: 'synced' })
      }
    }
    return await laterOutcomeOf(async () => {
      const again = await open()
      let held = 0
      for (const segment of stored) {
        const read = await again.get(rootNumber(1), segment.index).catch((error: unknown) => {
          insist(isFailure(error), `a read that fails says why: ${String(error)}`)
        })
        if (read === undefined || read === null) continue
        held += 1
        const isSame = Buffer.from(read.data).equals(segment.data)
        insist(isSame, 'a segment has the bytes that were put, or is not there')
      }
      await again.close()
      void held
    })
  },
}

/** What a node reads besides: events, configuration, queries, its own disk. */
export const nodeTargets: readonly FuzzTarget[] = [eventLogs, config, ranges, queries, slots, damagedStores]
