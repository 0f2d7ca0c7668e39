import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { readdir, readlink } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ObjectInfo } from '@weightless/sdk'
import type { Finding } from './doctor/checks.ts'
import type { NetworkStatus } from './local/status.ts'
import { freePorts } from '@weightless/host'
import { isAlive, parseNetwork, type NetworkDescription, type StorageNodeDescription } from './networkFile.ts'

// The real thing in a temporary directory, as a user would run it. The tests build on each other, in this order.

const binary = resolve(import.meta.dirname, '../bin/weightless.js')
const folder = mkdtempSync(join(tmpdir(), 'weightless-e2e-'))
const dir = join(folder, 'network')
const WAIT_MS_MAX = 40_000

type Run = { readonly code: number | null; readonly out: string; readonly bytes: Buffer; readonly err: string }

function start(args: readonly string[], at = dir): ChildProcessWithoutNullStreams {
  return spawn(process.execPath, [binary, ...args, '--dir', at], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, TMPDIR: folder },
  })
}

function weightless(args: readonly string[], stdin?: Uint8Array, at = dir): Promise<Run> {
  const child = start(args, at)
  child.stdin.on('error', () => undefined)
  child.stdin.end(stdin)
  return ended(child)
}

function ended(child: ChildProcessWithoutNullStreams): Promise<Run> {
  const out: Buffer[] = []
  let err = ''
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk))
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()))
  return new Promise((done) =>
    child.once('close', (code) => {
      const bytes = Buffer.concat(out)
      done({ code, out: bytes.toString(), bytes, err })
    }),
  )
}

/** The fields of our answers that these tests look at. */
type Put = { readonly root: string; readonly receipts: readonly { readonly signer: string }[] }
type List = { readonly entries: readonly { readonly root: string }[] }
type Lines = { readonly lines: readonly { readonly role: string; readonly line: string }[] }

async function json<T>(...args: string[]): Promise<T> {
  const { code, out, err } = await weightless([...args, '--json'])
  expect({ code, out: code === 0 ? '' : out, err: code === 0 ? '' : err }).toEqual({ code: 0, out: '', err: '' })
  return JSON.parse(out) as T
}

type ErrorDocument = {
  readonly code: string
  readonly next: string
  readonly facts: { readonly [name: string]: unknown }
}

function errorOf(out: string): ErrorDocument {
  return (JSON.parse(out) as { error: ErrorDocument }).error
}

function network(): NetworkDescription {
  return parseNetwork(readFileSync(join(dir, 'network.json'), 'utf8'))
}

async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + WAIT_MS_MAX
  while (!(await isSo())) {
    if (Date.now() > deadline) throw new Error(`waited in vain until ${what}`)
    await sleep(50)
  }
}

function adminCall(socketPath: string, method: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json' }
    const asked = httpRequest({ socketPath, path: '/', method: 'POST', headers }, (incoming) => {
      let text = ''
      incoming.on('data', (part: Buffer) => (text += part.toString()))
      incoming.on('end', () => resolve(JSON.parse(text)))
    })
    asked.on('error', reject)
    asked.end(JSON.stringify({ jsonrpc: '2.0', id: 1, method, params: [] }))
  })
}

async function openFiles(pid: number): Promise<string[]> {
  const names = await readdir(`/proc/${pid}/fd`).catch(() => [])
  return Promise.all(names.map((name) => readlink(`/proc/${pid}/fd/${name}`).catch(() => '')))
}

/** Reproducible bytes without a pattern of the size of a chunk. */
function content(sizeBytes: number, seed: number): Buffer {
  const parts: Buffer[] = []
  for (let i = 0; i * 32 < sizeBytes; i++) parts.push(createHash('sha256').update(`${seed} ${i}`).digest())
  return Buffer.concat(parts).subarray(0, sizeBytes)
}

/** Every process of the network: `up`, anvil, the gateway, the nodes. */
async function pids(): Promise<number[]> {
  const status = await json<NetworkStatus>('status')
  return [status.pid, status.chain.pid, status.gateway.pid, ...status.storage.nodes.map((node) => node.pid)].filter(
    (pid): pid is number => pid !== null,
  )
}

async function nodeOf(id: string): Promise<NetworkStatus['storage']['nodes'][number] | undefined> {
  return (await json<NetworkStatus>('status')).storage.nodes.find((node) => node.id === id)
}

const small = content(1_000, 1)
const large = content(3_000_001, 2)
let roots: { small: string; large: string }
let first: NetworkDescription

beforeAll(async () => {
  first = await json<NetworkDescription>('up', '--detach', '--port-base', '0', '--nodes', '4')
})
afterAll(async () => {
  await weightless(['down'])
  rmSync(folder, { recursive: true, force: true })
})

describe('weightless up', () => {
  test('prints what network.json holds, which only this user can read', () => {
    expect(first).toEqual(network())
    expect(first.storage.nodes.map((node) => node.id)).toEqual(['node-0', 'node-1', 'node-2', 'node-3'])
    expect(first.accounts).toHaveLength(10)
    expect(Object.keys(first).sort()).toEqual(['accounts', 'chain', 'contracts', 'pid', 'storage', 'version'])
    expect(first.contracts).not.toHaveProperty('mine')
    for (const file of ['network.json', 'admin.json', 'state.json', 'keys/deployer.key', 'keys/node-0.key']) {
      expect(statSync(join(dir, file)).mode & 0o077, file).toBe(0)
    }
  })

  test('every storage node is a process of its own', () => {
    const own = [first.pid, ...first.storage.nodes.map((node) => node.pid!)]
    expect(new Set(own).size).toBe(5)
    expect(own.every(isAlive)).toBe(true)
  })

  test('status knows every role, and --wait returns at once when it is ready', async () => {
    const status = await json<NetworkStatus>('status', '--wait')
    expect(status).toMatchObject({
      ready: true,
      pid: first.pid,
      chain: { state: 'running', chainId: 31337 },
      gateway: { state: 'running' },
    })
    expect(status.chain.headBlock).toBeGreaterThan(0)
    expect(status.storage.nodes.map((node) => node.state)).toEqual(['running', 'running', 'running', 'running'])
    expect((await weightless(['status'])).out).toContain('node-3')
  })

  test('a second up on the directory is refused and names the process and the next step', async () => {
    for (const args of [
      ['up', '--json'],
      ['up', '--detach', '--json'],
      ['up', '--reset', '--json'],
    ]) {
      const { code, out } = await weightless(args)
      expect(code).toBe(1)
      expect(JSON.parse(out)).toMatchObject({
        error: { code: 'NETWORK_RUNNING', facts: { pid: first.pid }, next: expect.stringContaining('weightless down') },
      })
    }
    expect(isAlive(first.pid)).toBe(true)
    expect(network()).toEqual(first)
  })

  test('a port that is taken is named, with the next step, before anything is started', async () => {
    const other = join(folder, 'other')
    const port = new URL(first.chain.rpcUrl).port
    const { code, out } = await weightless(['up', '--port-base', port, '--json'], undefined, other)
    expect(code).toBe(1)
    expect(JSON.parse(out)).toMatchObject({
      error: { code: 'PORT_TAKEN', facts: { port: Number(port) }, next: expect.stringContaining('--port-base') },
    })
    expect(await readdir(other)).not.toContain('chain')
  })
})

describe('weightless put and get', () => {
  test('a file and a pipe are stored durably and signed for by three holders', async () => {
    writeFileSync(join(folder, 'large'), large)
    const put = await json<Put>('put', join(folder, 'large'))
    expect(put).toMatchObject({ sizeBytes: large.length, stage: 'durable' })
    expect(new Set(put.receipts.map((receipt) => receipt.signer)).size).toBe(3)
    const piped = await weightless(['put', '-', '--json'], small)
    expect(piped.code).toBe(0)
    roots = { large: put.root, small: (JSON.parse(piped.out) as Put).root }
  })

  test('a file that is not there, an empty file and a directory are refused', async () => {
    writeFileSync(join(folder, 'empty'), '')
    for (const [file, code] of [
      ['missing', 'FILE_UNREADABLE'],
      ['empty', 'FILE_EMPTY'],
      ['.', 'FILE_UNREADABLE'],
    ] as const) {
      const refused = await weightless(['put', join(folder, file), '--json'])
      expect(refused.code).toBe(1)
      expect(errorOf(refused.out).code).toBe(code)
    }
  })

  test('what was stored comes back byte for byte, to a file, to a pipe, as a range, and joined', async () => {
    const path = join(folder, 'copy')
    expect(await json('get', roots.large, '-o', path)).toMatchObject({ sizeBytes: large.length, replaced: false })
    expect(readFileSync(path).equals(large)).toBe(true)
    expect((await weightless(['get', roots.small])).bytes.equals(small)).toBe(true)
    expect(
      (await weightless(['get', roots.large, '--range', '262143-262145'])).bytes.equals(
        large.subarray(262_143, 262_146),
      ),
    ).toBe(true)
    expect(
      (await weightless(['get', roots.large, '--range', '3000000-'])).bytes.equals(large.subarray(3_000_000)),
    ).toBe(true)
    expect(
      (await weightless(['get', `${roots.small},${roots.small}`, '-o', '-'])).bytes.equals(
        Buffer.concat([small, small]),
      ),
    ).toBe(true)
  })

  test('a failed get leaves what was at its place and nothing beside it', async () => {
    const path = join(folder, 'kept')
    writeFileSync(path, 'precious')
    const { code, out } = await weightless(['get', `0x${'11'.repeat(32)}`, '-o', path, '--timeout', '5', '--json'])
    expect(code).toBe(1)
    expect(errorOf(out).next).toBeTypeOf('string')
    expect(readFileSync(path, 'utf8')).toBe('precious')
    expect((await readdir(folder)).filter((name) => name.includes('.part'))).toEqual([])
  })

  test('ls and info know what was stored', async () => {
    const { entries } = await json<List>('ls')
    expect(entries.map((entry) => entry.root)).toEqual(expect.arrayContaining([roots.large, roots.small]))
    const info = await json<ObjectInfo>('info', roots.large)
    expect(info).toMatchObject({ root: roots.large, stage: expect.stringMatching(/durable|final/) })
    expect(info.entries[0]).toMatchObject({ sizeBytes: large.length })
  })

  // What a process has open is to be seen on Linux only.
  test.runIf(process.platform === 'linux')(
    'Ctrl-C ends a put that waits for its input, and leaves no spooled bytes',
    async () => {
      const spooled = async (): Promise<string[]> => (await readdir(folder)).filter((name) => name.startsWith('spool-'))
      const child = start(['put', '-', '--json'])
      const run = ended(child)
      child.stdin.write(small)
      await until('its input is spooled', async () =>
        (await openFiles(child.pid!)).some((name) => name.includes('/spool-')),
      )
      child.kill('SIGINT')
      const { code, out } = await run
      expect(code).toBe(1)
      expect(errorOf(out).code).toBe('INTERRUPTED')
      expect(await spooled()).toEqual([])
    },
  )

  test('logs shows one role or all of them', async () => {
    expect((await json<Lines>('logs', 'node-0')).lines.length).toBeGreaterThan(0)
    const all = await json<Lines>('logs')
    expect(new Set(all.lines.map((line) => line.role))).toContain('gateway')
    const { code, out } = await weightless(['logs', 'nobody', '--json'])
    expect(code).toBe(1)
    expect(errorOf(out)).toMatchObject({ code: 'ROLE_UNKNOWN' })
  })
})

describe('weightless node run', () => {
  test("runs the official storage node's configuration as a node that keeps everything", async () => {
    const [port] = await freePorts(1)
    const url = `http://127.0.0.1:${port}`
    const config = join(folder, 'config.toml')
    writeFileSync(
      config,
      [
        `blockchain_rpc_endpoint = "${first.chain.rpcUrl}"`,
        `log_contract_address = "${first.contracts.flow}"`,
        'log_sync_start_block_number = 0',
        `db_dir = "${join(folder, 'solo')}"`,
        'network_libp2p_port = 1234',
        '[rpc]',
        `listen_address = "127.0.0.1:${port}"`,
      ].join('\n'),
    )
    const child = start(['node', 'run', '--config', config])
    const run = ended(child)
    await until('it is ready', async () => (await fetch(`${url}/health`).catch(() => undefined))?.ok === true)
    const answer = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"jsonrpc":"2.0","id":1,"method":"zgs_getShardConfig","params":[]}',
    })
    expect(await answer.json()).toMatchObject({ result: { shardId: 0, numShard: 1 } })
    child.kill('SIGTERM')
    expect((await run).code).toBe(0)
  })

  test('a key that nobody knows is refused and the nearest one is named', async () => {
    const config = join(folder, 'wrong.toml')
    writeFileSync(config, '[chain]\nrpc_urll = "http://127.0.0.1:1"\n')
    const { code, out } = await weightless(['node', 'run', '--config', config, '--json'])
    expect(code).toBe(1)
    expect(errorOf(out)).toMatchObject({ code: 'CONFIG_KEY_UNKNOWN', facts: { nearest: 'chain.rpc_url' } })
  })
})

describe('when processes die', () => {
  test('a killed storage node stays down and the others go on storing and serving', async () => {
    const victim = network().storage.nodes[1]!
    process.kill(victim.pid!, 'SIGKILL')
    await until('network.json says so', () => network().storage.nodes[1]!.pid === null)
    rmSync(victim.dataDir, { recursive: true, force: true })
    const put = await weightless(['put', '-', '--json'], content(600_000, 3))
    expect(put.code).toBe(0)
    const { root } = JSON.parse(put.out) as { root: string }
    expect((await weightless(['get', root])).bytes.equals(content(600_000, 3))).toBe(true)
    expect((await weightless(['get', roots.large])).bytes.equals(large)).toBe(true)
    expect(network().storage.nodes[1]!.pid).toBeNull()
  })

  test('node start brings it back, with an empty data directory too', async () => {
    expect(await json('node', 'start', 'node-1')).toMatchObject({ id: 'node-1', state: 'running' })
    expect(network().storage.nodes[1]!.pid).toBeTypeOf('number')
    expect((await weightless(['node', 'start', 'nobody', '--json'])).code).toBe(1)
  })

  test('a holder that was killed and emptied is rebuilt by the others, and the object outlives them', async () => {
    const bytes = randomBytes(20_000_000)
    writeFileSync(join(folder, 'rebuilt'), bytes)
    const { root, receipts } = await json<Put>('put', join(folder, 'rebuilt'))
    const signerOf = async (url: string): Promise<string> =>
      ((await (await fetch(`${url}/v1/status`)).json()) as { signer: string }).signer
    const signers = new Map<string, string>()
    for (const { id, url } of network().storage.nodes) signers.set(await signerOf(url), id)
    const [first, ...others] = receipts.map(({ signer }) => signers.get(signer)!)
    const find = (id: string): StorageNodeDescription => network().storage.nodes.find((node) => node.id === id)!
    const kill = async (id: string): Promise<void> => {
      process.kill(find(id).pid!, 'SIGKILL')
      await until(`${id} is down`, () => find(id).pid === null)
    }
    await kill(first!)
    rmSync(find(first!).dataDir, { recursive: true, force: true })
    await json('node', 'start', first!)
    const missing = async (): Promise<number | null> =>
      (await json<NetworkStatus>('status')).storage.nodes.find(({ id }) => id === first)!.missingBytes
    const isWhole = async (): Promise<boolean> => {
      const answer = await fetch(`${find(first!).url}/v1/entries/${root}`)
      return answer.ok && ((await answer.json()) as { entries: { complete: boolean }[] }).entries[0]!.complete
    }
    await until('it is rebuilt', isWhole)
    await until('status says so', async () => (await missing()) === 0)
    for (const id of others) await kill(id)
    expect((await weightless(['get', root])).bytes.equals(bytes)).toBe(true)
    for (const id of others) await json('node', 'start', id)
  })

  test('an object under a code outlives two of its four holders with all they had, and is whole again when they are back', async () => {
    const bytes = randomBytes(9_000_000)
    writeFileSync(join(folder, 'coded'), bytes)
    const put = await json<Put>('put', join(folder, 'coded'), '--code', '2+2')
    expect(put).toMatchObject({ stage: 'durable', lossesSurvived: 2, parity: { seq: expect.any(Number) } })
    const survived = async (): Promise<number | undefined> =>
      (await json<ObjectInfo>('info', put.root)).protection?.lossesSurvivedNow
    expect(await survived()).toBe(2)
    const [a, b] = network().storage.nodes
    for (const { id, pid, dataDir } of [a!, b!]) {
      process.kill(pid!, 'SIGKILL')
      await until(`${id} is down`, () => network().storage.nodes.find((node) => node.id === id)!.pid === null)
      rmSync(dataDir, { recursive: true, force: true })
    }
    expect(await survived()).toBe(0)
    expect((await weightless(['get', put.root])).bytes.equals(bytes)).toBe(true)
    const part = await weightless(['get', put.root, '--range', '262000-3000000'])
    expect(part.bytes.equals(bytes.subarray(262_000, 3_000_001))).toBe(true)
    for (const { id } of [a!, b!]) await json('node', 'start', id)
    await until('it is whole again', async () => (await survived()) === 2)
    // So is what has copies: the tests that follow take nodes away.
    const missing = async (): Promise<(number | null)[]> =>
      (await json<NetworkStatus>('status')).storage.nodes.map(({ missingBytes }) => missingBytes)
    await until('all is whole again', async () => (await missing()).every((sizeBytes) => sizeBytes === 0))
  })

  // Sockets of the file system are not everywhere, and not in every directory.
  test.runIf(process.platform !== 'win32')(
    'the private methods of a node answer on a socket of this user alone',
    async () => {
      const node = network().storage.nodes[0]!
      expect(statSync(node.adminSocket!).mode & 0o777).toBe(0o600)
      expect(await adminCall(node.adminSocket!, 'admin_getNetworkInfo')).toMatchObject({ result: { totalPeers: 3 } })
      expect(await adminCall(node.adminSocket!, 'admin_getSyncServiceState')).toMatchObject({
        result: { numSyncing: expect.any(Number) },
      })
      const open = await fetch(node.url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: '{"jsonrpc":"2.0","id":1,"method":"admin_shutdown","params":[]}',
      })
      expect(await open.json()).toMatchObject({ error: { code: -32601 } })
      expect(await adminCall(node.adminSocket!, 'admin_shutdown')).toMatchObject({ result: null })
      await until('the node has ended', () => network().storage.nodes[0]!.pid === null)
      await json('node', 'start', node.id)
    },
  )

  test('the log of every role is cut, that of the chain and of up too, while they write on', async () => {
    const logs = ['up', 'chain', 'gateway', 'node-0'].map((role) => join(dir, 'logs', `${role}.log`))
    const filler = Buffer.alloc(17 * 1024 ** 2, 'x')
    for (const log of logs) appendFileSync(log, filler)
    await until('all are cut', () => logs.every((log) => statSync(log).size < 1024 ** 2))
    for (const log of logs) expect(statSync(`${log}.1`).size).toBeLessThanOrEqual(33 * 1024 ** 2)
  })

  test('doctor finds nothing wrong with a running network, and names what is', async () => {
    const doctor = async (): Promise<{ code: number | null; findings: Finding[] }> => {
      const { code, out } = await weightless(['doctor', '--json'])
      return { code, findings: (JSON.parse(out) as { findings: Finding[] }).findings }
    }
    await until('it is well', async () => (await doctor()).code === 0)
    const { findings } = await doctor()
    expect(findings.filter(({ level }) => level === 'fail')).toEqual([])
    for (const check of ['network', 'network.json', 'ports', 'disk', 'chain', 'clock', 'keys', 'gateway', 'node-0'])
      expect(findings.find((finding) => finding.check === check)?.level, check).toBe('ok')
    chmodSync(join(dir, 'keys', 'node-0.key'), 0o644)
    await json('node', 'stop', 'node-2')
    const ill = await doctor()
    expect(ill.code).toBe(1)
    expect(ill.findings.filter(({ level }) => level !== 'ok' && level !== undefined)).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ check: 'keys', level: 'fail', remedy: expect.stringContaining('chmod 600') }),
        expect.objectContaining({
          check: 'node-2',
          level: 'warn',
          remedy: expect.stringContaining('node start node-2'),
        }),
      ]),
    )
    chmodSync(join(dir, 'keys', 'node-0.key'), 0o600)
    await json('node', 'start', 'node-2')
  })

  test('the gateway comes back by itself', async () => {
    const before = (await json<NetworkStatus>('status')).gateway.pid as number
    process.kill(before, 'SIGKILL')
    await until('another gateway runs', async () => {
      const { gateway } = await json<NetworkStatus>('status')
      return gateway.state === 'running' && gateway.pid !== before && gateway.restarts === 1
    })
  })

  test('a node is added and takes the place of another, which leaves nothing behind', async () => {
    expect(await json('node', 'add', '--replace', 'node-3')).toMatchObject({
      id: 'node-4',
      replaced: 'node-3',
      state: 'running',
    })
    expect(network().storage.nodes.map((node) => node.id)).toEqual(['node-0', 'node-1', 'node-2', 'node-4'])
    expect(await readdir(join(dir, 'nodes'))).not.toContain('node-3')
    expect(await json('node', 'drain', 'node-0', '--no-wait')).toMatchObject({ state: 'draining' })
    expect((await weightless(['get', roots.large])).bytes.equals(large)).toBe(true)
  })

  test('down ends every process and takes network.json away; up resumes with the same ports and data', async () => {
    const before = network()
    const running = await pids()
    expect(await json('down')).toMatchObject({ stopped: true })
    await until('all are gone', () => !running.some(isAlive))
    expect(await readdir(dir)).not.toContain('network.json')
    expect((await weightless(['status', '--json'])).code).toBe(1)
    const after = await json<NetworkDescription>('up', '--detach')
    expect(after.chain).toEqual(before.chain)
    expect(after.contracts).toEqual(before.contracts)
    expect(after.storage.nodes.map(({ id, url }) => ({ id, url }))).toEqual(
      before.storage.nodes.map(({ id, url }) => ({ id, url })),
    )
    expect((await weightless(['get', roots.large])).bytes.equals(large)).toBe(true)
  })

  test('a killed up leaves no process behind', async () => {
    // Two members are left, for three copies: this drain has not ended by then.
    await json('node', 'drain', 'node-1', '--no-wait')
    await until('the drain is stuck', async () => (await nodeOf('node-1'))?.handOff?.state === 'stuck')
    const running = await pids()
    process.kill(network().pid, 'SIGKILL')
    await until('all are gone', () => !running.some(isAlive))
    const { code, out } = await weightless(['get', roots.small, '--json', '-o', join(folder, 'none')])
    expect(code).toBe(1)
    expect(errorOf(out).code).toBe('NETWORK_DOWN')
  })

  test('a drain in the middle of which up was killed goes on with the next one, and ends', async () => {
    await json('up', '--detach')
    expect(await nodeOf('node-1')).toMatchObject({ state: 'draining' })
    // With the two that are left, four for the four slots of an object.
    for (let i = 0; i < 2; i++) await json('node', 'add')
    expect(await json('node', 'drain', 'node-1')).toMatchObject({ handOff: { state: 'done', leftBytes: 0 } })
    expect(await json('node', 'rm', 'node-1')).toMatchObject({ state: 'removed' })
    expect((await weightless(['get', roots.large])).bytes.equals(large)).toBe(true)
    await json('down')
  })

  test('Ctrl-C stops a network in the foreground, one that was reset too, and leaves nothing running', async () => {
    const child = start(['up', '--reset', '--port-base', '0', '--nodes', '1', '--json'])
    const run = ended(child)
    await until('it is ready', () => existsSync(join(dir, 'network.json')) && network().pid === child.pid)
    expect(network().storage.nodes).toHaveLength(1)
    expect((await json<List>('ls')).entries.map((entry) => entry.root)).not.toContain(roots.small)
    const running = await pids()
    child.kill('SIGINT')
    const { code, out } = await run
    expect(code).toBe(0)
    expect(JSON.parse(out)).toMatchObject({ version: 1, storage: { nodes: [{ id: 'node-0' }] } })
    expect(running.filter(isAlive)).toEqual([])
    expect(await readdir(dir)).not.toContain('network.json')
    expect(await readdir(dir)).not.toContain('admin.json')
  })
})
