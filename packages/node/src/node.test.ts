/* oxlint-disable typescript/no-explicit-any -- answers and parameters of JSON-RPC, read field by field */
import { chmodSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createFail, isFailure, type Disk, type Logger } from '@weightless/core'
import { createPrivateKey, freePorts, nodeDisk, parseToml, serveHttp, type HttpServer } from '@weightless/host'
import { objectOf } from '../../../sim/compliance/storageNode.ts'
import { silentLogger } from '../../../sim/silentLogger.ts'
import { createTestChain, FLOW, REGISTRY, type TestChain } from '../test/testChain.ts'
import { createTestClock, until } from '../test/testClock.ts'
import { officialSegment } from '../test/testRoles.ts'
import { parseRolesConfig } from './config.ts'
import { startRoles, type RolesDeps, type RunningRoles } from './node.ts'

let directory: string
let chain: TestChain
let chainServer: HttpServer
const running: RunningRoles[] = []

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'weightless-roles-'))
  chain = createTestChain()
  chainServer = await serveHttp({ port: 0, handler: (request) => chain.handle(request) })
})
afterEach(async () => {
  for (const roles of running.splice(0)) await roles[Symbol.asyncDispose]()
  await chainServer.close()
  rmSync(directory, { recursive: true, force: true })
})

async function start(toml: string, deps: Partial<RolesDeps> = {}): Promise<RunningRoles> {
  const roles = await startRoles(
    parseRolesConfig(parseToml(toml)),
    { logger: silentLogger, ...deps },
    { signal: new AbortController().signal },
  )
  running.push(roles)
  return roles
}
const official = (name: string, port = 0): string => `
blockchain_rpc_endpoint = "${chainServer.url}"
log_contract_address = "${FLOW}"
confirmation_block_count = 0
rpc_listen_address = "127.0.0.1:${port}"
db_dir = "${join(directory, name)}"
miner_key = "00"
`
const gateway = (name: string): string => `
[chain]
rpc_url = "${chainServer.url}"
chain_id = 31337
flow = "${FLOW}"
registry = "${REGISTRY}"
[gateway]
listen = "127.0.0.1:0"
data_dir = "${join(directory, name)}"
`
async function rpc(url: string, method: string, params: unknown = []): Promise<any> {
  const response = await fetch(url, { method: 'POST', body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }) })
  return await response.json()
}
const isReady = async (url: string): Promise<boolean> => (await fetch(`${url}/health`)).ok

describe('roles on a real machine', () => {
  test('the official configuration gives a node that takes an official upload and keeps it over a restart', async () => {
    const warned: unknown[] = []
    const logger: Logger = {
      ...silentLogger,
      warn: (event, fields) => void warned.push([event, fields?.['keys']]),
      child: () => logger,
    }
    const first = await start(official('db'), { logger })
    expect(warned).toContainEqual(['config.ignored', 'miner_key'])
    const { url } = first.roles[0]!
    const object = objectOf(600_000, 1)
    const [entry] = chain.submit(object.submission)
    await until(
      async () => (await rpc(url, 'zgs_getFileInfo', [entry!.root, true])).result !== null,
      'the entry is seen',
    )
    for (const index of [2, 0, 1]) {
      expect((await rpc(url, 'zgs_uploadSegmentsByTxSeq', [[officialSegment(object, index)], entry!.seq])).result).toBe(
        0,
      )
    }
    expect((await rpc(url, 'zgs_getFileInfo', [entry!.root, true])).result.finalized).toBe(true)
    await running.pop()![Symbol.asyncDispose]()
    await expect(fetch(url)).rejects.toThrow()

    const second = await start(official('db'))
    const again = second.roles[0]!.url
    await until(() => isReady(again), 'the node is ready')
    expect((await rpc(again, 'zgs_getFileInfo', [entry!.root, true])).result.finalized).toBe(true)
    expect((await rpc(again, 'zgs_downloadSegmentByTxSeq', [0, 0, 1024])).result).toBe(
      officialSegment(object, 0)['data'],
    )
  })

  test('a gateway names the address that it bound', async () => {
    const { roles } = await start(gateway('gateway'))
    expect(roles[0]!.name).toBe('gateway')
    const { result } = await rpc(roles[0]!.url, 'indexer_getShardedNodes')
    expect(result.trusted[0].url).toBe(roles[0]!.url)
    const metrics = await (await fetch(`${roles[0]!.url}/metrics`)).text()
    expect(metrics).toMatch(/^weightless_spool_used_bytes 0$/m)
  })

  test('a port that is taken, a directory in use and another chain are told, and nothing is left behind', async () => {
    const [port] = await freePorts(1)
    await start(official('a', port))
    await expect(start(official('b', port))).rejects.toSatisfy((error) => isFailure(error, 'PORT_TAKEN'))
    await expect(start(official('a'))).rejects.toSatisfy((error) => isFailure(error, 'DIRECTORY_IN_USE'))
    // What failed to start has let go of its directory.
    const { roles } = await start(official('b'))
    await until(() => isReady(roles[0]!.url), 'the node is ready')
    const strange = await start(gateway('c').replace('31337', '31338'))
    await expect(strange.failed).rejects.toSatisfy((error) => isFailure(error, 'CHAIN_ID_MISMATCH'))
  })

  test('a key file that is missing, or that others can read, keeps a node from starting', async () => {
    const file = join(directory, 'node.key')
    const node = `${gateway('d').replace('[gateway]', '[storage]')}key_file = "${file}"\n`
    await expect(start(node)).rejects.toSatisfy((error) => isFailure(error, 'KEY_FILE_MISSING'))
    await createPrivateKey(file)
    chmodSync(file, 0o644)
    await expect(start(node)).rejects.toSatisfy((error) => isFailure(error, 'KEY_FILE_OPEN'))
  })

  test('a disk that fails a sync leaves the process alive: it serves what it has and says that it takes no more', async () => {
    const real = nodeDisk()
    const fault = createFail({ DISK_FAILED: { retryable: false, blame: 'self', next: 'Check the disk of the test.' } })
    let isFailing = false
    const disk: Disk = {
      ...real,
      open: async (path, options) => {
        const file = await real.open(path, options)
        return {
          ...file,
          sync: async () => {
            if (isFailing) throw fault('DISK_FAILED', { reason: 'EIO' })
            await file.sync()
          },
        }
      },
    }
    const { roles, failed } = await start(official('failing'), { disk })
    let hasEnded = false
    failed.catch(() => (hasEnded = true))
    const { url } = roles[0]!
    const [kept, refused] = [objectOf(5_000, 2), objectOf(6_000, 3)]
    const [entry] = chain.submit(kept.submission)
    await until(
      async () => (await rpc(url, 'zgs_getFileInfo', [entry!.root, true])).result !== null,
      'the entry is seen',
    )
    expect((await rpc(url, 'zgs_uploadSegments', [[officialSegment(kept, 0)]])).result).toBe(0)
    isFailing = true
    expect((await rpc(url, 'zgs_uploadSegments', [[officialSegment(refused, 0)]])).error.message).toMatch(
      /^STORE_SYNC_FAILED: /,
    )
    expect((await rpc(url, 'zgs_downloadSegment', [entry!.root, 0, 20])).result).toBe(officialSegment(kept, 0)['data'])
    const metrics = await (await fetch(`${url}/metrics`)).text()
    expect(metrics).toMatch(/^weightless_store_read_only 1$/m)
    expect(metrics).toMatch(/^weightless_store_damaged_segments 0$/m)
    const health = await fetch(`${url}/health`)
    expect([health.status, await health.json()]).toEqual([503, { ready: false, readOnly: 'STORE_SYNC_FAILED' }])
    expect(hasEnded).toBe(false)
  })

  test('a data directory that is moved away under a live process ends it with the next step', async () => {
    const { failed } = await start(official('gone'), { clock: createTestClock() })
    renameSync(join(directory, 'gone'), join(directory, 'elsewhere'))
    const error: unknown = await failed.catch((reason: unknown) => reason)
    expect(error).toSatisfy((reason) => isFailure(reason, 'STORE_DIRECTORY_GONE'))
  })
})
