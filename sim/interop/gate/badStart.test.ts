import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import type { Failure } from '@weightless/core'
import { freePorts } from '@weightless/host'
import { createClient, privateKeySigner, upload } from '@weightless/sdk'
import { call, content, startNetwork, weightless, type CommandResult, type Network } from '../network.ts'
import { familyOf, listProcesses, processesNaming, until } from '../processes.ts'

// A directory that meets a taken port, then too few nodes, then a killed `up`. The tests build on each other, in this order.

const dir = mkdtempSync(join(tmpdir(), 'weightless-start-'))
let network: Network | undefined
afterAll(async () => {
  await network?.stop()
  rmSync(dir, { recursive: true, force: true })
})

type Refusal = {
  readonly code: string
  readonly message: string
  readonly next: string
  readonly facts: Record<string, unknown>
}
const errorOf = ({ stdout }: CommandResult): Refusal => JSON.parse(stdout.toString()).error

test('a port that is taken is named before anything is started, and nothing is left behind', async () => {
  const { base, squatter } = await squat()
  try {
    for (const detach of [[], ['--detach']]) {
      const up = await weightless({ dir }, ['up', '--port-base', String(base), '--nodes', '3', '--json', ...detach])
      expect(up.code).toBe(1)
      expect(errorOf(up)).toMatchObject({
        code: 'PORT_TAKEN',
        facts: { port: base + 1 },
        next: expect.stringContaining('--port-base'),
      })
      expect(processesNaming(dir)).toEqual([])
    }
    const status = await weightless({ dir }, ['status', '--json'])
    expect([status.code, errorOf(status).code]).toEqual([1, 'NETWORK_DOWN'])
  } finally {
    squatter.close()
    await once(squatter, 'close')
  }
})

test('the same directory then starts on other ports', { timeout: 90_000 }, async () => {
  network = await startNetwork(['--nodes', '3'], dir)
  expect(network.file.storage.nodes).toHaveLength(3)
})

test(
  'with too few nodes left an upload ends in an error that names who failed, and nothing is paid twice or for nothing',
  { timeout: 90_000 },
  async () => {
    const { accounts, chain, contracts, storage } = network!.file
    const [, account] = accounts
    const sent = async (): Promise<string> =>
      (await call(chain.rpcUrl, 'eth_getTransactionCount', [account!.address, 'latest'])).result
    const client = createClient({
      network: {
        rpcUrl: chain.rpcUrl,
        chainId: chain.chainId,
        flow: contracts.flow,
        registry: contracts.storageRegistry,
      },
      signer: privateKeySigner(account!.privateKey),
    })
    const bytes = content(600_000, 1)
    const dead = storage.nodes[1]!
    // It dies when the entry is paid for and no byte has been sent.
    const onProgress = ({ phase }: { readonly phase: string }): void => {
      if (phase === 'anchor') process.kill(dead.pid!, 'SIGKILL')
    }
    const error = await upload(client, bytes, { onProgress }).catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'DURABILITY_NOT_REACHED', retryable: true, facts: { needed: 3, reached: 2 } })
    expect((error as Failure).facts['failures']).toContain(dead.url)
    expect((error as Failure).next).toContain('not paid twice')

    const before = await sent()
    for (const seed of [1, 2]) {
      const put = await weightless(network!, ['put', '-', '--json'], content(600_000, seed))
      expect(put.code).toBe(1)
      expect(errorOf(put)).toMatchObject({ code: 'NODES_TOO_FEW', facts: { needed: 3, reachable: 2 } })
      expect(errorOf(put).facts['failures']).toContain(dead.url)
    }
    expect(await sent()).toBe(before)

    // What two nodes can hold is taken when it is asked for.
    expect((await upload(client, content(1000, 3), { replicas: 2 })).receipts).toHaveLength(2)

    const paid = await sent()
    expect((await weightless(network!, ['node', 'start', dead.id])).code).toBe(0)
    const completed = await weightless(network!, ['put', '-', '--json'], bytes)
    expect(JSON.parse(completed.stdout.toString())).toMatchObject({
      stage: 'durable',
      reused: true,
      receipts: [{}, {}, {}],
    })
    expect(await sent()).toBe(paid)
  },
)

test('up killed with SIGKILL leaves no process behind, and its directory resumes', { timeout: 120_000 }, async () => {
  const { pid } = JSON.parse(readFileSync(join(dir, 'network.json'), 'utf8')) as { pid: number }
  const stored = await weightless(network!, ['put', '-', '--json'], content(100_000, 4))
  const { root } = JSON.parse(stored.stdout.toString()) as { root: string }
  const family = familyOf(pid).map((one) => one.pid)
  // up, anvil, gateway, three nodes, and what guards them
  expect(family.length).toBeGreaterThanOrEqual(6)
  process.kill(pid, 'SIGKILL')
  await until('all of its processes have ended', 30_000, () => {
    const alive = new Set(listProcesses().map((one) => one.pid))
    return !family.some((one) => alive.has(one))
  })
  expect(processesNaming(dir)).toEqual([])
  const status = await weightless({ dir }, ['status', '--json'])
  expect([status.code, errorOf(status).code]).toEqual([1, 'NETWORK_DOWN'])
  const get = await weightless({ dir }, ['get', root, '-o', join(dir, 'none'), '--json'])
  expect([get.code, errorOf(get).code]).toEqual([1, 'NETWORK_DOWN'])

  network = await startNetwork([], dir)
  const read = await weightless(network, ['get', root, '-o', '-'])
  expect(read.stdout.equals(Buffer.from(content(100_000, 4)))).toBe(true)
})

/** Takes the gateway's port, one above the base, which is found among free ports, so that the others of the range are very likely free.
 *  That one may be another test's. */
async function squat(): Promise<{ readonly base: number; readonly squatter: Server }> {
  for (;;) {
    const [base] = await freePorts(1)
    const squatter = createServer().listen(base! + 1, '127.0.0.1')
    const isListening = await once(squatter, 'listening').then(
      () => true,
      () => false,
    )
    if (isListening) return { base: base!, squatter }
  }
}
