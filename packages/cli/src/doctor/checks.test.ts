import { describe, expect, test } from 'vitest'
import type { NetworkStatus } from '../local/status.ts'
import {
  checkChain,
  checkDirectory,
  checkDisk,
  checkFiles,
  checkGateway,
  checkLocks,
  checkLogs,
  checkNetwork,
  checkNetworkFile,
  checkNode,
  checkNodes,
  checkPorts,
  checkProcesses,
  examine,
  type Check,
} from './checks.ts'
import type { ChainFacts, DoctorFacts, NodeFacts } from './facts.ts'

const GIB = 1024 ** 3
const role = (url: string, pid: number) => ({ url, pid, state: 'running' as const, restarts: 0, rssBytes: 1 })
const status = {
  ready: true,
  phase: 'ready',
  pid: 10,
  chain: { ...role('http://c', 11), chainId: 31337 },
  gateway: role('http://g', 12),
  storage: { entryCount: 3, nodes: [{ id: 'node-0', ...role('http://n', 13) }] },
} as unknown as NetworkStatus

const told: NonNullable<NodeFacts['told']> = {
  ready: true,
  readOnly: false,
  brokenBy: undefined,
  damagedCount: 0,
  chainFault: undefined,
  standing: 'active',
  memberFault: undefined,
  heartbeatsLeft: undefined,
  nextSeq: 20,
  usedBytes: GIB,
  capacityBytes: 64 * GIB,
  missingBytes: 0,
  unavailableEntryCount: 0,
  etaSeconds: null,
}
const node = (more: Partial<NodeFacts['told']> = {}): NodeFacts => ({
  id: 'node-0',
  url: 'http://n',
  state: 'running',
  told: { ...told, ...more },
})

const well: DoctorFacts = {
  nowMs: 1_000_000_000,
  nodeVersion: 'v24.1.0',
  directory: { path: '/d', state: 'ours', version: 1 },
  network: {
    state: 'running',
    pid: 10,
    status,
    file: { pid: 10, urls: ['http://c', 'http://g', 'http://n'], pids: [13] },
  },
  ports: [
    { role: 'chain', port: 1, isFree: false },
    { role: 'node-0', port: 2, isFree: false },
  ],
  disk: { freeBytes: 100 * GIB, syncMs: 1 },
  chain: {
    url: 'http://c',
    reachable: true,
    chainId: 31337,
    expectedChainId: 31337,
    headBlock: 7,
    headMs: 1_000_000_000 - 20_000,
    hasFlow: true,
  },
  files: [{ file: '/d/keys/node-0.key', mode: 0o100600 }],
  goneKeys: [],
  nodes: [node()],
  gatewayAnswers: true,
  logs: [{ file: '/d/logs/up.log', sizeBytes: 1000 }],
  locks: [{ file: '/d/lock', pid: 10, isAlive: true }],
  processes: [{ pid: 13, role: 'node-0' }],
}
const running = well.network
const chain = well.chain as Extract<ChainFacts, { reachable: true }>

test('a network that is well has no finding but good ones, and a machine with nothing running neither', () => {
  expect(examine(well).filter(({ level }) => level !== 'ok')).toEqual([])
  const idle: DoctorFacts = {
    ...well,
    directory: { path: '/d', state: 'absent' },
    network: { state: 'down', pid: undefined, status: undefined, file: undefined },
    ports: [],
    disk: undefined,
    chain: undefined,
    files: [],
    nodes: [],
    logs: [],
    locks: [],
    processes: [],
  }
  expect(examine(idle).map(({ check, level }) => [check, level])).toEqual([
    ['node', 'ok'],
    ['directory', 'ok'],
    ['network', 'ok'],
  ])
})

const down = { state: 'down', pid: undefined, status: undefined, file: undefined } as const

/** What was changed about a network that is well, and the worst that the check then finds, with what it must name. */
const cases: readonly [string, Check, Partial<DoctorFacts>, 'ok' | 'warn' | 'fail', RegExp][] = [
  ['Node 20.18', checkNode, { nodeVersion: 'v20.18.9' }, 'fail', /too old/],
  ['Node 20.19', checkNode, { nodeVersion: 'v20.19.0' }, 'warn', /April 2026/],
  ['Node 22', checkNode, { nodeVersion: 'v22.0.0' }, 'ok', /v22/],
  ['Node 25', checkNode, { nodeVersion: 'v25.0.0' }, 'warn', /no long-term/],

  ['files of others', checkDirectory, { directory: { path: '/d', state: 'foreign' } }, 'fail', /\/d holds files/],
  [
    'a newer format',
    checkDirectory,
    { directory: { path: '/d', state: 'newer', version: 9, supported: 1 } },
    'fail',
    /format 9.*up to 1/,
  ],
  ['a damaged directory', checkDirectory, { directory: { path: '/d', state: 'damaged' } }, 'fail', /cannot be read/],

  ['nothing running', checkNetwork, { network: down }, 'ok', /Nothing is running/],
  ['a killed up', checkNetwork, { network: { ...down, state: 'stale', pid: 4 } }, 'warn', /process 4/],
  ['an up that hangs', checkNetwork, { network: { ...down, state: 'silent', pid: 4 } }, 'fail', /Process 4/],
  ['an up that starts', checkNetwork, { network: { ...running, state: 'starting' } }, 'warn', /not ready/],

  ['network.json gone', checkNetworkFile, { network: { ...running, file: undefined } }, 'fail', /gone/],
  [
    'network.json broken',
    checkNetworkFile,
    { network: { ...running, file: { problem: 'not JSON' } } },
    'fail',
    /not JSON/,
  ],
  [
    'network.json of other addresses',
    checkNetworkFile,
    { network: { ...running, file: { pid: 10, urls: ['http://x'], pids: [13] } } },
    'fail',
    /other addresses/,
  ],
  [
    'network.json of another process',
    checkNetworkFile,
    { network: { ...running, file: { pid: 10, urls: ['http://c', 'http://g', 'http://n'], pids: [99] } } },
    'fail',
    /processes/,
  ],

  [
    'a port taken by others',
    checkPorts,
    { network: down, ports: [{ role: 'gateway', port: 8601, isFree: false }] },
    'fail',
    /8601 of gateway/,
  ],
  [
    'free ports with nothing running',
    checkPorts,
    { network: down, ports: [{ role: 'gateway', port: 8601, isFree: true }] },
    'ok',
    /free/,
  ],
  [
    'a role that listens no more',
    checkPorts,
    { ports: [{ role: 'gateway', port: 8601, isFree: true }] },
    'fail',
    /Nobody listens/,
  ],

  ['128 MiB free', checkDisk, { disk: { freeBytes: GIB / 8, syncMs: 1 } }, 'fail', /full/],
  ['1 GiB free', checkDisk, { disk: { freeBytes: GIB, syncMs: 1 } }, 'warn', /fills up/],
  ['a slow disk', checkDisk, { disk: { freeBytes: 9 * GIB, syncMs: 80 } }, 'warn', /80.0 ms/],
  [
    'a disk that takes nothing',
    checkDisk,
    { disk: { freeBytes: 9 * GIB, syncMs: undefined } },
    'warn',
    /could be written/,
  ],

  [
    'a chain that is away',
    checkChain,
    { chain: { url: 'http://c', reachable: false, reason: 'refused' } },
    'fail',
    /refused/,
  ],
  ['another chain', checkChain, { chain: { ...chain, chainId: 1 } }, 'fail', /chain 1, not 31337/],
  [
    'a chain whose journal cannot be written',
    checkChain,
    {
      network: {
        ...running,
        status: {
          ...status,
          chain: { ...status.chain, fault: 'CHAIN_JOURNAL_FAILED: block=7 reason=DISK_FULL. Next: Free space.' },
        },
      },
    },
    'fail',
    /has stopped. CHAIN_JOURNAL_FAILED: block=7 reason=DISK_FULL/,
  ],
  ['a node with damaged bytes', checkNodes, { nodes: [node({ damagedCount: 3 })] }, 'warn', /3 segments/],
  ['a chain without the contracts', checkChain, { chain: { ...chain, hasFlow: false } }, 'fail', /no contract/],
  ['a chain that stands still', checkChain, { nowMs: chain.headMs + 90_001 }, 'fail', /min old/],
  ['a block that is 90 s old', checkChain, { nowMs: chain.headMs + 90_000 }, 'ok', /block 7/],
  ['a clock set back by an hour', checkChain, { nowMs: chain.headMs - 3_600_000 }, 'fail', /3600 s behind/],
  ['a chain 15 s ahead', checkChain, { nowMs: chain.headMs - 15_000 }, 'ok', /agrees/],

  [
    'a key that others can read',
    checkFiles,
    { files: [{ file: '/d/keys/a.key', mode: 0o100640 }] },
    'fail',
    /a\.key.*640/,
  ],

  ['a key that is gone', checkFiles, { goneKeys: ['/d/keys/deployer.key'] }, 'fail', /deployer\.key is gone/],

  [
    'a gateway that is down',
    checkGateway,
    { network: { ...running, status: { ...status, gateway: { ...status.gateway, state: 'waiting' } } } },
    'fail',
    /waiting/,
  ],
  ['a gateway that hangs', checkGateway, { gatewayAnswers: false }, 'fail', /does not answer/],
  [
    'a gateway that came back',
    checkGateway,
    { network: { ...running, status: { ...status, gateway: { ...status.gateway, restarts: 3 } } } },
    'warn',
    /3 times/,
  ],

  [
    'a node that is down',
    checkNodes,
    { nodes: [{ ...node(), state: 'down', told: undefined }] },
    'warn',
    /node-0 is down/,
  ],
  ['a node that does not answer', checkNodes, { nodes: [{ ...node(), told: undefined }] }, 'fail', /does not answer/],
  [
    'a node with a broken disk',
    checkNodes,
    { nodes: [node({ readOnly: true, brokenBy: 'STORE_SYNC_FAILED' })] },
    'fail',
    /no more writes: STORE_SYNC/,
  ],
  [
    'a node that does not follow the chain',
    checkNodes,
    { nodes: [node({ chainFault: 'CHAIN_ID_MISMATCH: chainId=1. Next: Point rpc_url at the chain.' })] },
    'fail',
    /does not follow the chain: CHAIN_ID_MISMATCH/,
  ],
  [
    'a node that cannot pay for its heartbeat',
    checkNodes,
    { nodes: [node({ standing: 'stale', memberFault: 'FUNDS_INSUFFICIENT: haveWei=1. Next: Send it coins.' })] },
    'fail',
    /cannot say that it lives: FUNDS_INSUFFICIENT/,
  ],
  ['a node that was marked stale', checkNodes, { nodes: [node({ standing: 'stale' })] }, 'warn', /not counted on/],
  ['a node with funds for hours', checkNodes, { nodes: [node({ heartbeatsLeft: 5_759 })] }, 'warn', /5759 heartbeats/],
  ['a node with funds for a day', checkNodes, { nodes: [node({ heartbeatsLeft: 5_760 })] }, 'ok', /well/],
  [
    'a node that is behind',
    checkNodes,
    { nodes: [node({ nextSeq: 11 }), { ...node(), id: 'node-1' }] },
    'warn',
    /9 entries behind/,
  ],
  [
    'a node a few entries behind',
    checkNodes,
    { nodes: [node({ nextSeq: 12 }), { ...node(), id: 'node-1' }] },
    'ok',
    /well/,
  ],
  [
    'a node that is being rebuilt',
    checkNodes,
    { nodes: [node({ missingBytes: GIB, etaSeconds: 16 })] },
    'warn',
    /1.00 GiB/,
  ],
  [
    'a node that lacks what nobody has',
    checkNodes,
    { nodes: [node({ missingBytes: 5, unavailableEntryCount: 2 })] },
    'warn',
    /2 entries/,
  ],
  ['a node that is nearly full', checkNodes, { nodes: [node({ usedBytes: 60 * GIB })] }, 'warn', /nearly full/],

  ['a log that nobody cuts', checkLogs, { logs: [{ file: '/d/logs/x.log', sizeBytes: GIB }] }, 'warn', /x\.log/],
  ['a stale lock', checkLocks, { locks: [{ file: '/d/lock', pid: 5, isAlive: false }] }, 'warn', /process 5/],
  [
    'a role that nobody started',
    checkProcesses,
    { processes: [{ pid: 77, role: 'node-3' }] },
    'fail',
    /77 runs node-3/,
  ],
]

describe('doctor', () => {
  test.each(cases)('%s', (_, check, change, level, names) => {
    const found = check({ ...well, ...change })
    const order = ['ok', 'warn', 'fail']
    const worst = [...found].sort((a, b) => order.indexOf(b.level) - order.indexOf(a.level))[0]!
    expect(worst.level).toBe(level)
    expect(found.some(({ what }) => names.test(what))).toBe(true)
  })

  test('every finding that is not good says what to do', () => {
    for (const [, check, change] of cases)
      for (const finding of check({ ...well, ...change }))
        expect((finding.remedy ?? '').length > 0, finding.what).toBe(finding.level !== 'ok')
  })

  test('a node that was stopped is no port that is missing', () => {
    const stopped = { ...status, storage: { ...status.storage, nodes: [{ ...status.storage.nodes[0]!, pid: null }] } }
    const ports = [{ role: 'node-0', port: 2, isFree: true }]
    expect(checkPorts({ ...well, ports, network: { ...running, status: stopped } })).toMatchObject([{ level: 'ok' }])
  })
})
