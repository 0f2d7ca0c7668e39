import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isFailure, type Failure } from '@weightless/core'
import { createClient, privateKeySigner, upload, type Client, type ClientOptions } from '@weightless/sdk'
import { afterAll, afterEach, beforeAll, expect } from 'vitest'
import { call, content, startNetwork, weightless, type Network, type NetworkFile } from './network.ts'
import { until } from './processes.ts'
import { segmentedFile, type SegmentedFile } from './segmentBodies.ts'

/** A network of four storage nodes for the tests of one file, in the hands of somebody who means harm. */
export type Lab = {
  readonly network: Network
  /** For files of the tests; removed after them. */
  readonly folder: string
  gatewayUrl(): string
  nodeUrl(index?: number): string
  chainUrl(): string
  /** network.json as it is now. */
  currentFile(): NetworkFile
  describe(changes?: Partial<ClientOptions['network']>): ClientOptions['network']
  signerOf(account: number): ReturnType<typeof privateKeySigner>
  /** One client per account: each keeps its own nonces. */
  clientOf(account: number): Client
  /** An entry on chain whose bytes nobody has. */
  anchored(bytes: Uint8Array): Promise<SegmentedFile & { readonly seq: number }>
  /** What signing anything at all would change. */
  moneyOf(address: string): Promise<{ readonly balance: string; readonly nonce: string }>
  /** A command that fails: its exit code and the error of its JSON document. */
  refusal(args: readonly string[], stdin?: Uint8Array): Promise<Refusal & { readonly exit: number | null }>
  /** A file through the gateway, which follows the chain and may learn of an upload past it a moment later. */
  served(root: string): Promise<Buffer>
  rssBytesOf(role: 'gateway'): Promise<number>
  /** Every role runs, nothing had to be restarted, nobody waits, and `weightless status` says ready. */
  expectHealthy(): Promise<void>
}
export type Refusal = {
  readonly code: string
  readonly message: string
  readonly next: string
  readonly facts: Record<string, unknown>
}

/** A root that nobody has ever stored. */
export const unknownRoot = `0x${'ab'.repeat(32)}`
const NODE_COUNT = 4
const SERVED_MS_MAX = 20_000

/** Starts the network before the tests of a file and stops it after them. After each test a good upload must still be stored
 *  and served: the rest goes on, whatever the test sent. */
export function useLab(): Lab {
  let network: Network
  const folder = mkdtempSync(join(tmpdir(), 'weightless-bad-'))
  const clients = new Map<number, Client>()
  beforeAll(async () => {
    network = await startNetwork(['--nodes', String(NODE_COUNT)])
  }, 90_000)
  afterAll(async () => {
    await network.stop()
    rmSync(folder, { recursive: true, force: true })
  })

  let goodCount = 0
  afterEach(async () => {
    goodCount += 1
    const bytes = content(1000 + goodCount, 10_000 + goodCount)
    const { root, stage } = await upload(lab.clientOf(1), bytes)
    expect(stage).toBe('durable')
    expect((await lab.served(root)).equals(Buffer.from(bytes))).toBe(true)
  })

  const lab: Lab = {
    get network() {
      return network
    },
    folder,
    gatewayUrl: () => network.file.storage.gatewayUrl,
    nodeUrl: (index = 0) => network.file.storage.nodes[index]!.url,
    chainUrl: () => network.file.chain.rpcUrl,
    currentFile: () => JSON.parse(readFileSync(join(network.dir, 'network.json'), 'utf8')) as NetworkFile,
    describe(changes = {}) {
      const { chain, contracts } = network.file
      const { flow, storageRegistry } = contracts
      return { rpcUrl: chain.rpcUrl, chainId: chain.chainId, flow, registry: storageRegistry, ...changes }
    },
    signerOf: (account) => privateKeySigner(network.file.accounts[account]!.privateKey),
    clientOf(account) {
      const client = clients.get(account) ?? createClient({ network: lab.describe(), signer: lab.signerOf(account) })
      clients.set(account, client)
      return client
    },
    async anchored(bytes) {
      const { seq } = await upload(lab.clientOf(2), bytes, { until: 'anchored' })
      return { ...segmentedFile(bytes), seq }
    },
    async moneyOf(address) {
      const [balance, nonce] = await Promise.all([
        call(lab.chainUrl(), 'eth_getBalance', [address, 'latest']),
        call(lab.chainUrl(), 'eth_getTransactionCount', [address, 'latest']),
      ])
      return { balance: balance.result, nonce: nonce.result }
    },
    async refusal(args, stdin) {
      const { code, stdout } = await weightless(network, [...args, '--json'], stdin)
      const { error } = JSON.parse(stdout.toString()) as { readonly error: Refusal }
      expect(error.next).not.toBe('')
      return { exit: code, ...error }
    },
    async served(root) {
      let response: Response | undefined
      await until(`${root} is served`, SERVED_MS_MAX, async () => {
        response = await fetch(`${lab.gatewayUrl()}/file?root=${root}`)
        if (response.status !== 200) await response.body?.cancel()
        return response.status === 200
      })
      return Buffer.from(await response!.arrayBuffer())
    },
    async rssBytesOf(role) {
      const { stdout } = await weightless(network, ['status', '--json'])
      return (JSON.parse(stdout.toString()) as Record<typeof role, { readonly rssBytes: number }>)[role].rssBytes
    },
    async expectHealthy() {
      const { code, stdout } = await weightless(network, ['status', '--json'])
      expect(code).toBe(0)
      const running = { state: 'running', restarts: 0 }
      expect(JSON.parse(stdout.toString())).toMatchObject({
        ready: true,
        chain: running,
        gateway: running,
        storage: { nodes: Array.from({ length: NODE_COUNT }, () => ({ ...running, readOnly: false })) },
      })
      await until('no request holds memory', SERVED_MS_MAX, async () => {
        const text = await (await fetch(`${lab.gatewayUrl()}/metrics`)).text()
        const gauges = ['bodies_bytes', 'bodies_waiting', 'early_bytes']
        return gauges.every((gauge) => new RegExp(`^weightless_${gauge} 0$`, 'm').test(text))
      })
    },
  }
  return lab
}

/** The failure of ours that `work` ends with, next step included. */
export async function failureOf(work: Promise<unknown>): Promise<Failure> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (!isFailure(error)) throw new Error(`a failure of ours was expected, got ${String(error)}`)
  expect(error.next).not.toBe('')
  return error
}

/** The same bytes without a length in front. */
export function streamOf(bytes: Uint8Array): ReadableStream<Uint8Array> {
  return new Blob([bytes as Uint8Array<ArrayBuffer>]).stream()
}
