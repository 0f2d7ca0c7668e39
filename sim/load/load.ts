import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { announce, createClient, download, privateKeySigner, upload, uploadMany, type Client } from '@weightless/sdk'
import { ethers } from 'ethers'
import { createChance } from '../chance.ts'
import { call, content, startNetwork, type Network } from '../interop/network.ts'
import { downloadWithNew, downloadWithOld, uploadWithNew, uploadWithOld } from '../interop/officialClients.ts'
import { openSlowClients } from '../interop/slowClients.ts'
import { ownMemoryBytes } from '../../packages/cli/src/processUsage.ts'
import { quantile, slopeOf } from './statistics.ts'

export type LoadOptions = {
  readonly clients: number
  readonly minutes: number
  readonly seed: number
  /** Small entries that are in the log before the clients come: with some thousands, caches by entry are full from the start. */
  readonly entriesBefore?: number | undefined
  readonly tell: (line: string) => void
}
export type LoadResult = {
  readonly seconds: number
  readonly clients: Readonly<Record<string, number>>
  /** Milliseconds by what was done. */
  readonly latencies: Readonly<Record<string, Latency>>
  readonly errors: readonly string[]
  readonly errorCount: number
  readonly memory: Readonly<Record<string, Memory>>
  readonly storedCount: number
  readonly storedBytes: number
  readonly slowOpened: number
  readonly slowEnded: number
}
export type Latency = {
  readonly count: number
  readonly p50: number
  readonly p95: number
  readonly p99: number
  readonly most: number
}
/** MiB; the slope over the second half, when everything is warm. */
export type Memory = {
  readonly first: number
  readonly last: number
  readonly most: number
  readonly slopePerMinute: number
}

const NODES = 4
const SAMPLE_MS = 1_000
const SIZES = [1, 5_000, 60_000, 60_000, 262_145, 1_000_000]
const ERRORS_KEPT = 20
/** Eight connections on each of three ports that begin and stop, and as many that never begin; opened again when they are ended. */
const SLOW_COUNT = 8
/** Official clients choose their own nonces, so each that uploads has a wallet of its own. */
const WALLET_WEI = 100n * 10n ** 18n

type Stored = { readonly root: string; readonly sizeBytes: number; readonly contentSeed: number }

/** Clients of every kind at once against one network, with slow and half-open connections among them. */
export async function load({ clients, minutes, seed, entriesBefore = 0, tell }: LoadOptions): Promise<LoadResult> {
  const chance = createChance(seed)
  const network = await startNetwork(['--nodes', String(NODES)])
  const { file } = network
  const stored: Stored[] = []
  const durations = new Map<string, number[]>()
  const errors: string[] = []
  let errorCount = 0
  let contentSeed = seed * 1_000_000
  const over = new AbortController()
  let startedMs = performance.now()
  let endMs = Infinity

  const own = (account: number): Client =>
    createClient({
      network: {
        rpcUrl: file.chain.rpcUrl,
        chainId: file.chain.chainId,
        flow: file.contracts.flow as never,
        registry: file.contracts.storageRegistry as never,
      },
      signer: privateKeySigner(file.accounts[account]!.privateKey as never),
    })

  /** As our command line does it: the gateway is told, so that whoever reads through it need not wait until it finds out. */
  async function ownUpload(client: Client, bytes: Uint8Array): Promise<string> {
    const { root, seq, receipts } = await upload(client, bytes)
    await announce(client, { gatewayUrl: file.storage.gatewayUrl, root, seq, receipts })
    return root
  }

  async function timed(name: string, work: () => Promise<void>): Promise<void> {
    const beganMs = performance.now()
    try {
      await work()
      const all = durations.get(name) ?? []
      durations.set(name, all)
      all.push(performance.now() - beganMs)
    } catch (error) {
      errorCount += 1
      if (errors.length < ERRORS_KEPT) errors.push(`${name}: ${String(error).slice(0, 300)}`)
      await pause(200)
    }
  }

  async function put(name: string, send: (bytes: Uint8Array) => Promise<string>): Promise<void> {
    const sizeBytes = SIZES[chance.below(SIZES.length)]!
    const one = ++contentSeed
    await timed(name, async () => {
      stored.push({ root: await send(content(sizeBytes, one)), sizeBytes, contentSeed: one })
    })
  }
  async function get(name: string, read: (root: string) => Promise<Uint8Array>): Promise<void> {
    const one = stored[chance.below(stored.length)]!
    await timed(name, async () => {
      const bytes = await read(one.root)
      if (!Buffer.from(bytes).equals(content(one.sizeBytes, one.contentSeed)))
        throw new Error(`wrong bytes of ${one.root}`)
    })
  }

  const kindsOf: readonly { readonly name: string; readonly share: number; make(i: number): () => Promise<void> }[] = [
    {
      name: 'own SDK',
      share: 0.4,
      make: (i) => {
        const client = owners[i % owners.length]!
        return () =>
          chance.below(3) === 0
            ? put('own upload', (bytes) => ownUpload(client, bytes))
            : get('own download', (root) => collect(download(client, root as never)))
      },
    },
    {
      name: 'official SDK 1.2.8',
      share: 0.15,
      make: (i) => {
        const at = walletNetwork(network, wallets[i % wallets.length]!)
        return () =>
          chance.below(3) === 0
            ? put('official 1.2.8 upload', async (bytes) => (await uploadWithNew(at, 0, bytes)).rootHash as string)
            : get('official 1.2.8 download', (root) => downloadWithNew(at, root))
      },
    },
    {
      name: 'official SDK 0.3.3',
      share: 0.1,
      make: (i) => {
        const at = walletNetwork(network, wallets[wallets.length - 1 - (i % wallets.length)]!)
        return () =>
          chance.below(3) === 0
            ? put('official 0.3.3 upload', async (bytes) => (await uploadWithOld(at, 0, bytes)).rootHash)
            : get('official 0.3.3 download', (root) => downloadWithOld(at, root))
      },
    },
    {
      name: 'browser over REST',
      share: 0.25,
      make: () => () =>
        get('REST download', async (root) => {
          const response = await fetch(`${file.storage.gatewayUrl}/file?root=${root}`)
          const bytes = new Uint8Array(await response.arrayBuffer())
          if (response.status !== 200) throw new Error(`status ${response.status}`)
          return bytes
        }),
    },
    {
      name: 'poller over RPC',
      share: 0.1,
      make: () => async () => {
        const one = stored[chance.below(stored.length)]!
        await timed('zgs_getFileInfo', async () => {
          const { result, error } = await call(file.storage.gatewayUrl, 'zgs_getFileInfo', [one.root, true])
          if (error !== undefined || result?.tx === undefined) throw new Error(JSON.stringify(error ?? result))
        })
        await timed('eth_getBlockByNumber', async () => {
          const { result } = await call(file.chain.rpcUrl, 'eth_getBlockByNumber', ['latest', false])
          if (result?.hash === undefined) throw new Error('no block')
        })
        await pause(20)
      },
    },
  ]

  const owners = Array.from({ length: 6 }, (_, i) => own(1 + i))
  const counts = kindsOf.map(({ share }) => Math.max(1, Math.round(share * clients)))
  const wallets = await fundWallets(network, counts[1]! + counts[2]!)
  const samples = new Map<string, { readonly minutes: number; readonly mebibytes: number }[]>()
  const slow = { opened: 0, ended: 0 }
  try {
    // Something to read from the first moment on.
    for (let i = 0; i < 4; i++) await put('own upload', (bytes) => ownUpload(owners[0]!, bytes))
    await fillLog(owners, entriesBefore, tell)
    startedMs = performance.now()
    endMs = startedMs + minutes * 60_000
    const workers = kindsOf.flatMap(({ make }, kind) =>
      Array.from({ length: counts[kind]! }, async (_, i) => {
        const step = make(i)
        while (performance.now() < endMs) await step()
      }),
    )
    const side = [
      sampleMemory(network, samples, { startedMs, signal: over.signal }),
      ...[file.storage.gatewayUrl, file.storage.nodes[0]!.url, file.chain.rpcUrl].flatMap((url) => [
        keepSlow(url, 'POST / HTTP/1.1\r\nhost: slow\r\nx-slow: ', slow, over.signal),
        keepSlow(url, 'POST / HTTP/1.1\r\nhost: slow\r\ncontent-length: 300000\r\n\r\n{"jsonrpc":', slow, over.signal),
        keepSlow(url, '', slow, over.signal),
      ]),
    ]
    const telling = setInterval(
      () =>
        tell(`${((performance.now() - startedMs) / 1000).toFixed(0)} s, ${stored.length} stored, ${errorCount} errors`),
      15_000,
    )
    await Promise.all(workers)
    clearInterval(telling)
    over.abort()
    await Promise.all(side)
    return {
      seconds: (performance.now() - startedMs) / 1000,
      clients: Object.fromEntries(kindsOf.map(({ name }, kind) => [name, counts[kind]!])),
      latencies: Object.fromEntries([...durations].map(([name, all]) => [name, latencyOf(all)])),
      errors,
      errorCount,
      memory: Object.fromEntries([...samples].map(([name, all]) => [name, memoryOf(all)])),
      storedCount: stored.length,
      storedBytes: stored.reduce((sum, one) => sum + one.sizeBytes, 0),
      slowOpened: slow.opened,
      slowEnded: slow.ended,
    }
  } finally {
    over.abort()
    await network.stop()
  }
}

/** In one transaction. */
const ENTRIES_AT_ONCE = 25
/** Two sectors and a few bytes. */
const SMALL_BYTES = 600

async function fillLog(clients: readonly Client[], count: number, tell: (line: string) => void): Promise<void> {
  let next = 0
  const fill = async (client: Client): Promise<void> => {
    while (next < count) {
      const from = next
      next += ENTRIES_AT_ONCE
      await uploadMany(
        client,
        Array.from({ length: ENTRIES_AT_ONCE }, (_, i) => content(SMALL_BYTES, 500_000 + from + i)),
      )
      if (next % 2_000 < ENTRIES_AT_ONCE) tell(`${next} entries in the log`)
    }
  }
  await Promise.all(clients.map(fill))
}

/** The helpers for official clients take an account of the file: here it is a wallet that only they use. */
function walletNetwork(network: Network, wallet: { readonly address: string; readonly privateKey: string }): Network {
  return { ...network, file: { ...network.file, accounts: [wallet] } }
}

async function fundWallets(network: Network, count: number): Promise<readonly ethers.HDNodeWallet[]> {
  const provider = new ethers.JsonRpcProvider(network.file.chain.rpcUrl)
  const rich = new ethers.Wallet(network.file.accounts[0]!.privateKey, provider)
  const wallets: ethers.HDNodeWallet[] = []
  for (let i = 0; i < count; i++) {
    const wallet = ethers.Wallet.createRandom()
    const sent = await rich.sendTransaction({ to: wallet.address, value: WALLET_WEI, nonce: i })
    await sent.wait()
    wallets.push(wallet)
  }
  provider.destroy()
  return wallets
}

async function collect(parts: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const all: Uint8Array[] = []
  for await (const part of parts) all.push(part)
  return Buffer.concat(all)
}

async function keepSlow(
  url: string,
  beginning: string,
  slow: { opened: number; ended: number },
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    const clients = await openSlowClients(url, beginning, { count: SLOW_COUNT }).catch(() => undefined)
    if (clients === undefined) {
      await pause(500)
      continue
    }
    slow.opened += SLOW_COUNT
    const stop = new Promise<void>((done) => signal.addEventListener('abort', () => done(), { once: true }))
    await Promise.race([clients.ended, stop])
    slow.ended += SLOW_COUNT - clients.openCount
    clients.leave()
  }
}

type Role = { readonly pid: number | null; readonly rssBytes: number | null }
type Status = Role & {
  readonly chain: Role
  readonly gateway: Role
  readonly storage: { readonly nodes: readonly (Role & { readonly id: string })[] }
}

/** Without the pages of mapped files where the system tells them apart: the index is mapped, and grows with what is stored. */
async function memoryBytesOf({ pid, rssBytes }: Role): Promise<number | null> {
  return (pid === null ? undefined : await ownMemoryBytes(pid)) ?? rssBytes
}

async function sampleMemory(
  network: Network,
  samples: Map<string, { readonly minutes: number; readonly mebibytes: number }[]>,
  { startedMs, signal }: { readonly startedMs: number; readonly signal: AbortSignal },
): Promise<void> {
  const { url, token } = JSON.parse(readFileSync(join(network.dir, 'admin.json'), 'utf8')) as Record<string, string>
  while (!signal.aborted) {
    const response = await fetch(`${url}/v1/status`, { headers: { authorization: `Bearer ${token}` } }).catch(
      () => undefined,
    )
    if (response?.ok === true) {
      const status = (await response.json()) as Status
      const roles: readonly (readonly [string, Role])[] = [
        ['up', status],
        ['chain', status.chain],
        ['gateway', status.gateway],
        ...status.storage.nodes.map((node) => [node.id, node] as const),
      ]
      const minutes = (performance.now() - startedMs) / 60_000
      for (const [name, role] of roles) {
        const bytes = await memoryBytesOf(role)
        if (bytes === null) continue
        const all = samples.get(name) ?? []
        samples.set(name, all)
        all.push({ minutes, mebibytes: bytes / 1024 ** 2 })
      }
    }
    await pause(SAMPLE_MS, undefined, { signal }).catch(() => undefined)
  }
}

function latencyOf(all: readonly number[]): Latency {
  const sorted = [...all].sort((a, b) => a - b)
  return {
    count: all.length,
    p50: quantile(sorted, 0.5),
    p95: quantile(sorted, 0.95),
    p99: quantile(sorted, 0.99),
    most: sorted.at(-1) ?? 0,
  }
}

function memoryOf(all: readonly { readonly minutes: number; readonly mebibytes: number }[]): Memory {
  const warm = all.slice(Math.floor(all.length / 2))
  return {
    first: all[0]!.mebibytes,
    last: all.at(-1)!.mebibytes,
    most: Math.max(...all.map((sample) => sample.mebibytes)),
    slopePerMinute: slopeOf(warm.map(({ minutes, mebibytes }) => [minutes, mebibytes])),
  }
}
