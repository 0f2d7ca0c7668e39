import { expect, test } from 'vitest'
import { describeStatus, type NetworkStatus, type NodeStatus } from './status.ts'

const role = { url: 'http://127.0.0.1:1', pid: 7, state: 'running', restarts: 0, rssBytes: 1 } as const
const node: NodeStatus = {
  ...role,
  id: 'node-0',
  dataDir: 'nodes/node-0',
  segmentCount: 4,
  usedBytes: 1_064_960,
  capacityBytes: 1_073_741_824,
  readOnly: false,
  brokenBy: null,
  nextSeq: 4,
  missingBytes: 0,
  missingEntryCount: 0,
  repairedBytes: 0,
  repairedEntryCount: 0,
  etaSeconds: null,
  repairHindrance: null,
  scrubbedMs: null,
  handOff: null,
  syncState: 'complete',
  unavailableEntryCount: 0,
  isRedundancyKnown: true,
  registryVersion: 6,
  chainFault: null,
  member: 'active',
  heartbeatsLeft: null,
  memberFault: null,
}
const status: NetworkStatus = {
  ready: true,
  phase: 'ready',
  pid: 1,
  rssBytes: 1,
  startedMs: 0,
  dir: '.weightless',
  chain: { ...role, chainId: 31337, headBlock: 4, finalizedBlock: 4, fault: null },
  gateway: role,
  storage: { entryCount: 4, bytesByLosses: {}, registryVersion: 6, leaving: [], nodes: [node] },
  disk: { freeBytes: 10 * 1024 ** 3, room: 'enough' },
}

test('a network that is well has no words about room', () => {
  expect(describeStatus(status)).not.toMatch(/full|fills up/)
})

test('a full disk is told with the next step', () => {
  const text = describeStatus({ ...status, disk: { freeBytes: 100 * 1024 ** 2, room: 'full' } })
  expect(text).toMatch(/The disk is full: .* Nothing new is stored\. Free space/)
  expect(describeStatus({ ...status, disk: { freeBytes: 1024 ** 3, room: 'low' } })).toContain('The disk fills up')
})

test('a node that has used all it may is told', () => {
  const full = { ...node, usedBytes: node.capacityBytes! - 1 }
  expect(describeStatus({ ...status, storage: { ...status.storage, nodes: [full] } })).toContain('running, full')
})

test('a node that takes no more writes is told with what broke it', () => {
  const broken = { ...node, readOnly: true, brokenBy: 'STORE_SYNC_FAILED' }
  const text = describeStatus({ ...status, storage: { ...status.storage, nodes: [broken] } })
  expect(text).toContain('running, read-only: STORE_SYNC_FAILED')
})

test.each<readonly [Partial<NodeStatus>, string]>([
  [{ state: 'down', pid: null, member: 'stale' }, 'down, stale'],
  [{ member: 'none' }, 'running, no member'],
  [{ heartbeatsLeft: 5_759 }, 'running, funds low'],
  [
    { memberFault: 'The wallet has less than this needs. Send it coins.' },
    'node-0 cannot say that it lives. The wallet',
  ],
])('a node of which the registry or its account says %o is told', (fields, words) => {
  const text = describeStatus({ ...status, storage: { ...status.storage, nodes: [{ ...node, ...fields }] } })
  expect(text).toContain(words)
})

test('a member with funds for a day has no words about either', () => {
  const well = { ...node, heartbeatsLeft: 5_760 }
  expect(describeStatus({ ...status, storage: { ...status.storage, nodes: [well] } })).not.toMatch(
    /stale|member|funds|lives/,
  )
})

test('a repair is told with what is done, what is left, how long it takes, and what holds it up', () => {
  const repairing = {
    ...node,
    missingBytes: 80 * 1024 ** 2,
    missingEntryCount: 9,
    repairedBytes: 40 * 1024 ** 2,
    repairedEntryCount: 3,
    etaSeconds: 20,
  }
  const text = (of: NodeStatus): string => describeStatus({ ...status, storage: { ...status.storage, nodes: [of] } })
  expect(text(repairing)).toContain('node-0: repairing 3 of 12 entries, 40.0 MiB of 120 MiB, about 20 s\n')
  expect(text({ ...repairing, etaSeconds: null, repairHindrance: 'STORE_FULL' })).toContain(
    '40.0 MiB of 120 MiB, held up by STORE_FULL\n',
  )
  expect(text(node)).not.toContain('repairing')
})

test('what objects survive is told, the worst first', () => {
  const bytesByLosses = { unknown: 1024, '2': 2048, '0': 4096, lost: 512, '1': 0 }
  expect(describeStatus({ ...status, storage: { ...status.storage, bytesByLosses } })).toContain(
    'Losses of nodes: 512 B lost, 4.00 KiB survive no more loss, 2.00 KiB survive 2 more, 1.00 KiB without a certificate\n',
  )
})

test('a node that has died and is a member still is counted as there, and that is said', () => {
  const dead = { ...node, state: 'down', member: 'active' } as const
  const storage = { ...status.storage, bytesByLosses: { '2': 2048 }, nodes: [node, dead] }
  expect(describeStatus({ ...status, storage })).toContain(
    'survive 2 more (1 down: counted as there, what they reported left out, until marked stale)',
  )
  expect(describeStatus({ ...status, storage: { ...storage, bytesByLosses: {} } })).toContain(
    'Losses of nodes: nothing reported (1 down: counted as there, what they reported left out, until marked stale)',
  )
  const nodes = [node, { ...dead, member: 'stale' } as const]
  expect(describeStatus({ ...status, storage: { ...storage, nodes } })).not.toContain('counted as there')
})

test.each([
  ['moving', 'draining, 120 MiB to hand off'],
  ['stuck', 'draining, stuck: add a node'],
  ['done', 'drained: safe to remove'],
  ['none', 'draining'],
] as const)('a node that drains and whose hand-off is %s is told', (state, words) => {
  const handOff = {
    state,
    leftBytes: 120 * 1024 ** 2,
    leftEntryCount: 3,
    handedOffBytes: 0,
    homelessBytes: 0,
    unfinishedBytes: 0,
  }
  const draining = { ...node, state: 'draining', handOff } as const
  const text = describeStatus({ ...status, storage: { ...status.storage, nodes: [draining] } })
  expect(text).toMatch(new RegExp(`${words}  +7`))
})

test('a node that was removed and may not leave yet is told with the time of the chain', () => {
  const leaving = [
    { id: 'node-4', leavesAtS: 1_790_000_000 },
    { id: 'node-5', leavesAtS: null },
  ]
  const text = describeStatus({ ...status, storage: { ...status.storage, leaving } })
  expect(text).toContain(
    'node-4 is removed and leaves the registry at 2026-09-21T14:13:20.000Z; its stake follows then',
  )
  expect(text).toContain('node-5 is removed and leaves the registry later')
})
