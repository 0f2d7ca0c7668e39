/* oxlint-disable typescript/no-explicit-any -- answers and parameters of JSON-RPC, read field by field */
import {
  concat,
  domainOf,
  encodeBase64,
  encodeFrames,
  proofToJson,
  receiptSigner,
  toHex,
  type Address,
  type Entry,
  type Index,
  type Member,
  type Net,
  type ProvenSegment,
} from '@weightless/core'
import { inlineKernels, segmentRoot } from '@weightless/kernels'
import { createClient, createRpc } from '@weightless/sdk'
import { leafCountOf } from '@weightless/core'
import { createChance } from '../../../sim/chance.ts'
import type { TestObject } from '../../../sim/compliance/storageNode.ts'
import { rememberingKernel } from '../../../sim/kernels.ts'
import { createMemoryDisk, type MemoryDisk } from '../../../sim/memoryDisk.ts'
import { createMemoryIndexStore, type MemoryIndexStore } from '../../../sim/memoryIndex.ts'
import { silentLogger } from '../../../sim/silentLogger.ts'
import type { StorageMembership } from '../src/config.ts'
import { createChainReader } from '../src/flow/chainReader.ts'
import { createFollower, type Follower } from '../src/flow/follow.ts'
import { fixedMembership, type MembershipView } from '../src/flow/membership.ts'
import { followedMembers } from '../src/gateway/followedMembers.ts'
import { createGatewayRole, type GatewayPolicy } from '../src/gateway/gateway.ts'
import { plainBytes } from '../src/http/fastBytes.ts'
import type { RoleMetrics } from '../src/http/service.ts'
import type { Peers } from '../src/peers/peers.ts'
import type { Sync } from '../src/sync/sync.ts'
import { UPKEEP_DEFAULT, type Upkeep } from '../src/sync/upkeep.ts'
import { createStorageRole } from '../src/storage/storage.ts'
import { createSegmentStore, type SegmentStore } from '../src/store/store.ts'
import { CHAIN_ID, createTestChain, FLOW, REGISTRY, type TestChain } from './testChain.ts'
import { createTestClock, until, type TestClock } from './testClock.ts'

/** Roles joined by a function from Request to Response: no socket, no file, no wall clock. */
export type TestWorld = {
  readonly chain: TestChain
  readonly clock: TestClock
  readonly net: Net
  /** What stands between the network and a host, by origin; `undefined` lets the request through. */
  readonly faults: Map<string, (request: Request) => Promise<Response> | undefined>
  /** Requests by origin, oldest first: "PUT /v1/…". */
  readonly log: string[]
  storage(name: string, options?: TestStorageOptions): Promise<TestRole & { readonly signer: Address }>
  gateway(name: string, options?: TestGatewayOptions): Promise<TestRole>
  /** `count` storage nodes that are members of the registry. */
  members(count: number): Promise<readonly (TestRole & { readonly signer: Address })[]>
}
export type TestStorageOptions = {
  readonly membership?: StorageMembership
  readonly gatewayUrl?: string
  readonly capacityBytes?: number
  readonly machine?: TestMachine
  readonly joins?: boolean
  readonly upkeep?: Partial<Upkeep>
}
export type TestGatewayOptions = {
  readonly policy?: GatewayPolicy
  readonly replicas?: number
  readonly spoolBytesMax?: number
  readonly machine?: TestMachine
  readonly staticMembers?: readonly Member[]
  /** What it sees of the membership, where nodes see another one. */
  readonly view?: (followed: MembershipView) => MembershipView
}
/** What survives the process: its disk and its index. */
export type TestMachine = { readonly disk: MemoryDisk; readonly index: MemoryIndexStore }

export type TestRole = {
  readonly url: string
  readonly follower: Follower
  readonly store: SegmentStore
  readonly machine: TestMachine
  readonly index: Index
  fetch(path: string, init?: RequestInit): Promise<Response>
  rpc(method: string, params?: unknown): Promise<any>
  rpcText(body: string): Promise<string>
  /** Resolves when the role has seen everything that is on chain. */
  caughtUp(): Promise<void>
  /** Of a storage node: what its private listener works with. */
  readonly sync: Sync | undefined
  readonly peers: Peers | undefined
  /** What the store calls when bytes of a root went bad. */
  lost(root: Entry['root']): void
  /** Ends the role as kill -9 does: nothing is flushed or said good-bye to. */
  kill(): Promise<void>
}

/** What a client has of an answer is its own: a server may use the memory again. */
function asReceived(response: Response): Response {
  if (response.body === null) return response
  const reader = response.body.getReader()
  const copies = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { done, value } = await reader.read()
        if (done) controller.close()
        else controller.enqueue(value.slice())
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  )
  const { status, headers } = response
  return new Response(copies, { status, headers })
}

const worlds: AbortController[] = []

/** Ends everything that tests started; for `afterEach`. */
export function endWorlds(): void {
  for (const over of worlds.splice(0)) over.abort(new Error('the test is over'))
}

export function createTestWorld(options: { readonly msPerTurn?: number | undefined } = {}): TestWorld {
  const chain = createTestChain()
  const clock = createTestClock(options.msPerTurn)
  const over = new AbortController()
  worlds.push(over)
  const hosts = new Map<string, (request: Request) => Promise<Response>>([
    ['http://chain.test', (request) => chain.handle(request)],
  ])
  const faults: TestWorld['faults'] = new Map()
  const log: string[] = []
  let seed = 1
  let memberCount = 0

  const net: Net = {
    async fetch(request) {
      const { origin, pathname } = new URL(request.url)
      if (origin !== 'http://chain.test') log.push(`${request.method} ${origin}${pathname}`)
      request.signal.throwIfAborted()
      await new Promise((next) => setTimeout(next))
      const host = hosts.get(origin)
      const answer = faults.get(origin)?.(request)
      if (answer === undefined && host === undefined) throw new TypeError('fetch failed')
      return asReceived(await abortable(answer ?? host!(request), request.signal))
    },
  }

  const newMachine = (): TestMachine => ({
    disk: createMemoryDisk(createChance(seed++)),
    index: createMemoryIndexStore(createChance(seed++)),
  })

  async function startParts(name: string, machine: TestMachine, capacityBytes: number) {
    const ended = new AbortController()
    const signal = AbortSignal.any([over.signal, ended.signal])
    const index = machine.index.open()
    const lost: { call: (lost: { readonly root: any }) => void } = { call: () => undefined }
    const store = await createSegmentStore(
      { dataDir: '/data', capacityBytes, freeBytesMin: 0, onLost: (one) => lost.call(one) },
      { disk: machine.disk, index, clock, logger: silentLogger },
      { signal },
    )
    const random = { bytes: (sizeBytes: number) => new Uint8Array(sizeBytes).fill(128) }
    const rpc = createRpc('http://chain.test/', { net, clock, random })
    const follower = createFollower(
      { chainId: CHAIN_ID, flow: FLOW, registry: REGISTRY, startBlock: 0 },
      {
        rpc,
        reader: createChainReader({ flow: FLOW, registry: REGISTRY }, { rpc }),
        heads: chain.heads,
        index,
        clock,
        logger: silentLogger,
      },
    )
    return { name, ended, signal, index, store, follower, lost, machine }
  }
  type Parts = Awaited<ReturnType<typeof startParts>>

  function finish(
    parts: Parts,
    role: {
      handle: (request: Request, info: object) => Promise<Response>
      run(options: { signal: AbortSignal }): Promise<void>
      onLost(root: any): void
      readonly sync?: Sync
      readonly peers?: Peers
    },
  ): TestRole {
    const { name, signal, follower, store, index, machine, ended } = parts
    const url = `http://${name}.test`
    hosts.set(url, (request) => role.handle(request, {}))
    parts.lost.call = ({ root }) => role.onLost(root)
    const running = [follower.run({ signal }).catch(() => undefined), role.run({ signal }).catch(() => undefined)]
    const fetchRole = async (path: string, init: RequestInit = {}): Promise<Response> =>
      asReceived(await role.handle(new Request(url + path, init), {}))
    const rpcText = async (body: string): Promise<string> => {
      const bytes = new TextEncoder().encode(body)
      const headers = { 'content-type': 'application/json', 'content-length': String(bytes.length) }
      const response = await fetchRole('/', { method: 'POST', body: bytes, headers })
      return await response.text()
    }
    return {
      url,
      follower,
      store,
      machine,
      index,
      fetch: fetchRole,
      sync: role.sync,
      peers: role.peers,
      lost: (root) => role.onLost(root),
      rpcText,
      rpc: async (method, params) =>
        JSON.parse(
          await rpcText(JSON.stringify({ jsonrpc: '2.0', id: 1, method, ...(params === undefined ? {} : { params }) })),
        ),
      caughtUp: () =>
        until(
          () => follower.isCaughtUp() && follower.head().hash === chain.hashAt(chain.head),
          `${name} follows the chain`,
        ),
      async kill() {
        hosts.delete(url)
        ended.abort(new Error('killed'))
        machine.disk.endProcess()
        machine.index.endProcess()
        await Promise.all(running)
      },
    }
  }

  async function storage(
    name: string,
    options: TestStorageOptions = {},
  ): Promise<TestRole & { readonly signer: Address }> {
    const parts = await startParts(name, options.machine ?? newMachine(), options.capacityBytes ?? 1024 ** 3)
    const key = keyOf(name)
    const signer = receiptSigner(key)
    const source = options.membership ?? { source: 'registry' }
    const membership: MembershipView =
      source.source === 'registry'
        ? parts.follower.membership
        : fixedMembership(source.source === 'static' ? source.members : [])
    const role = createStorageRole(
      {
        version: 'test',
        chainId: CHAIN_ID,
        flow: FLOW,
        registry: source.source === 'registry' ? REGISTRY : undefined,
        membership: source,
        gatewayUrl: options.gatewayUrl,
        upkeep: { ...UPKEEP_DEFAULT, ...options.upkeep },
      },
      {
        follower: parts.follower,
        membership,
        store: parts.store,
        index: parts.index,
        kernels: inlineKernels({ kernel: rememberingKernel }),
        net,
        clock,
        logger: silentLogger,
        metrics: noMetrics,
        bytes: plainBytes,
        signer,
        signal: parts.signal,
      },
    )
    return { ...finish(parts, role), signer: signer.address }
  }

  return {
    chain,
    clock,
    net,
    faults,
    log,
    storage,
    async gateway(name, options = {}) {
      const parts = await startParts(name, options.machine ?? newMachine(), options.spoolBytesMax ?? 1024 ** 3)
      const followed =
        options.staticMembers === undefined ? parts.follower.membership : fixedMembership(options.staticMembers)
      const membership = options.view?.(followed) ?? followed
      const role = createGatewayRole(
        {
          version: 'test',
          chainId: CHAIN_ID,
          flow: FLOW,
          registry: REGISTRY,
          replicas: options.replicas ?? 3,
          policy: options.policy ?? { kind: 'replicate' },
          publicUrl: () => `http://${name}.test`,
        },
        {
          follower: parts.follower,
          membership,
          spool: parts.store,
          client: {
            ...createClient(
              { network: { rpcUrl: 'http://chain.test', chainId: CHAIN_ID, flow: FLOW, registry: REGISTRY } },
              { net, clock, kernels: inlineKernels({ kernel: rememberingKernel }) },
            ),
            membership: followedMembers(membership, REGISTRY),
          },
          index: parts.index,
          kernels: inlineKernels({ kernel: rememberingKernel }),
          net,
          clock,
          logger: silentLogger,
          metrics: noMetrics,
          bytes: plainBytes,
          signal: parts.signal,
        },
      )
      return finish(parts, role)
    },
    async members(count) {
      const nodes = await Promise.all(
        Array.from({ length: count }, (_, i) =>
          storage(`node-${memberCount + i}`, { gatewayUrl: 'http://gateway.test' }),
        ),
      )
      chain.change(
        ...nodes.map((node, i) => ({ id: memberCount + i + 1, member: memberOf(memberCount + i + 1, node) })),
      )
      memberCount += count
      for (const node of nodes) await node.caughtUp()
      return nodes
    },
  }
}

export function memberOf(id: number, node: { readonly url: string; readonly signer: Address }): Member {
  return { id, signer: node.signer, endpoint: node.url, domain: domainOf(`rack ${id}`), weight: 1000n }
}

export function keyOf(name: string): Uint8Array {
  const key = new Uint8Array(32).fill(1)
  key.set(new TextEncoder().encode(name).subarray(0, 31))
  return key
}

const noMetrics: RoleMetrics = {
  contentType: 'text/plain; version=0.0.4',
  render: async () => '# no metrics here\n',
  gaugeOf: () => undefined,
  gaugesOf: () => undefined,
}

/** A segment as official clients send it. */
export function officialSegment(
  object: TestObject,
  index: number,
  sizeBytes = object.submission.sizeBytes,
): Record<string, unknown> {
  const { tree, segments } = object
  const segment = segments[index]!
  const leaf = segmentRoot(segment.data, leafCountOf(tree.layout, index))
  return {
    root: tree.root,
    data: encodeBase64(segment.data),
    index,
    proof: proofToJson(leaf, segment.proof, tree.root),
    fileSize: sizeBytes,
  }
}

/** Sends segments over the binary route. */
export async function putBinary(
  node: TestRole,
  entry: Entry,
  segments: readonly ProvenSegment[],
  slot = 0,
): Promise<Response> {
  const body = concat(encodeFrames(segments))
  return await node.fetch(`/v1/entries/${entry.root}/segments?seq=${entry.seq}&slot=${slot}`, {
    method: 'PUT',
    body: body as Uint8Array<ArrayBuffer>,
    headers: { 'content-length': String(body.length) },
  })
}

export const zeroHash = toHex(new Uint8Array(32))

async function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return await new Promise<T>((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
    work.then(resolve, reject)
  })
}
