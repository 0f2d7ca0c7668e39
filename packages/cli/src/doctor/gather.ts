import { open, readdir, readFile, rm, stat } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { isFailure } from '@weightless/core'
import { isPortFree } from '@weightless/host'
import { openAdmin } from '../local/adminClient.ts'
import { inspectDirectory, layoutOfDirectory, type Layout } from '../local/directory.ts'
import { freeBytesOf } from '../local/room.ts'
import { readState, type NetworkState } from '../local/state.ts'
import type { NetworkStatus } from '../local/status.ts'
import { isAlive, networkFilePath, parseNetwork, type NetworkDescription } from '../networkFile.ts'
import type {
  ChainFacts,
  DirectoryFacts,
  DiskFacts,
  DoctorFacts,
  FileFacts,
  LockFacts,
  LogFacts,
  NetworkFacts,
  NodeFacts,
  PortFacts,
  ProcessFacts,
} from './facts.ts'

/** Nobody who hangs is waited for longer. */
const ASK_MS_MAX = 3_000
/** Writes of which the median counts: enough to pass over one slow flush of somebody else. */
const SYNC_PROBES = 9
const PROBE_BYTES = 4096
/** What a node says of itself has a few hundred bytes; a lock has one line. */
const ANSWER_BYTES_MAX = 1024 * 1024
/** An error code of a node. */
const TEXT_CHARS_MAX = 64
const TRY_FILE = '.doctor'

/** Looks at a directory and its network, running or not. Writes one small file beside its data and removes it again. */
export async function gatherFacts(dir: string, { signal }: { readonly signal: AbortSignal }): Promise<DoctorFacts> {
  const layout = layoutOfDirectory(dir)
  const directory = await directoryFacts(dir)
  const isOurs = directory.state === 'ours'
  const state = isOurs ? await readState(layout).catch(() => undefined) : undefined
  const file = await readNetwork(dir)
  const network = await networkFacts(dir, file, signal)
  const [ports, disk, chain, files, goneKeys, nodes, gatewayAnswers, logs, locks, processes] = await Promise.all([
    portFacts(state, signal),
    isOurs ? diskFacts(layout) : undefined,
    network.status === undefined ? undefined : chainFacts(network.status, file, signal),
    isOurs ? fileFacts(layout) : [],
    state === undefined ? [] : goneKeysOf(layout, state),
    Promise.all(network.status?.storage.nodes.map((node) => nodeFacts(node, signal)) ?? []),
    network.status === undefined ? undefined : gatewayAnswersAt(network.status, signal),
    logFacts(layout),
    isOurs ? lockFacts(layout) : [],
    processFacts(layout),
  ])
  return {
    nowMs: Date.now(),
    nodeVersion: process.version,
    directory,
    network,
    ports,
    disk,
    chain,
    files,
    goneKeys,
    nodes,
    gatewayAnswers,
    logs,
    locks,
    processes,
  }
}

async function directoryFacts(path: string): Promise<DirectoryFacts> {
  try {
    const found = await inspectDirectory(path, { reset: false })
    if (found === 'new') return { path, state: 'absent' }
    await readState(layoutOfDirectory(path))
    const { version } = JSON.parse(await readFile(join(path, 'format.json'), 'utf8')) as { version: number }
    return { path, state: 'ours', version }
  } catch (error) {
    if (isFailure(error, 'DIRECTORY_FOREIGN')) return { path, state: 'foreign' }
    if (isFailure(error, 'DIRECTORY_TOO_NEW')) {
      const { version, supported } = error.facts
      return { path, state: 'newer', version: Number(version), supported: Number(supported) }
    }
    return { path, state: 'damaged' }
  }
}

type NetworkRead = { readonly network: NetworkDescription } | { readonly problem: string } | undefined

async function readNetwork(dir: string): Promise<NetworkRead> {
  const text = await readFile(networkFilePath(dir), 'utf8').catch(() => undefined)
  if (text === undefined) return undefined
  try {
    return { network: parseNetwork(text) }
  } catch (error) {
    const { reason, field } = isFailure(error) ? error.facts : {}
    return { problem: String(reason ?? field ?? 'unreadable') }
  }
}

async function networkFacts(dir: string, read: NetworkRead, signal: AbortSignal): Promise<NetworkFacts> {
  const network = read !== undefined && 'network' in read ? read.network : undefined
  const file =
    network === undefined
      ? (read as NetworkFacts['file'])
      : {
          pid: network.pid,
          urls: [network.chain.rpcUrl, network.storage.gatewayUrl, ...network.storage.nodes.map(({ url }) => url)],
          pids: network.storage.nodes.map(({ pid }) => pid),
        }
  const admin = await openAdmin(dir).catch(() => undefined)
  if (admin === undefined) {
    const isStale = network !== undefined && !isAlive(network.pid)
    return { state: isStale ? 'stale' : 'down', pid: network?.pid, status: undefined, file }
  }
  const { pid } = admin
  const scope = AbortSignal.any([signal, AbortSignal.timeout(ASK_MS_MAX)])
  const status = await admin.request<NetworkStatus>('GET', '/v1/status', { signal: scope }).catch(() => undefined)
  signal.throwIfAborted()
  if (status === undefined) return { state: 'silent', pid, status, file }
  return { state: status.ready ? 'running' : 'starting', pid, status, file }
}

async function portFacts(state: NetworkState | undefined, signal: AbortSignal): Promise<readonly PortFacts[]> {
  if (state === undefined) return []
  const ports = [
    { role: 'chain', port: state.chainPort },
    { role: 'gateway', port: state.gatewayPort },
    { role: 'up', port: state.adminPort },
    ...state.nodes.map(({ id, port }) => ({ role: id, port })),
  ]
  return await Promise.all(ports.map(async (one) => ({ ...one, isFree: await isPortFree(one.port, { signal }) })))
}

async function diskFacts(layout: Layout): Promise<DiskFacts> {
  return { freeBytes: await freeBytesOf(layout.top), syncMs: await syncMs(join(layout.top, TRY_FILE)) }
}

/** The median of some durable writes; `undefined` when nothing can be written. */
async function syncMs(path: string): Promise<number | undefined> {
  try {
    await using file = await open(path, 'w', 0o600)
    const took: number[] = []
    for (let i = 0; i < SYNC_PROBES; i++) {
      const startMs = performance.now()
      await file.write(new Uint8Array(PROBE_BYTES), 0, PROBE_BYTES, i * PROBE_BYTES)
      await file.datasync()
      took.push(performance.now() - startMs)
    }
    return took.sort((a, b) => a - b)[SYNC_PROBES >> 1]
  } catch {
    return undefined
  } finally {
    await rm(path, { force: true }).catch(() => undefined)
  }
}

async function chainFacts(status: NetworkStatus, read: NetworkRead, signal: AbortSignal): Promise<ChainFacts> {
  const { url, chainId: expectedChainId } = status.chain
  const flow = read !== undefined && 'network' in read ? read.network.contracts.flow : undefined
  try {
    const [id, head, code] = await Promise.all([
      rpc(url, 'eth_chainId', [], signal),
      rpc(url, 'eth_getBlockByNumber', ['latest', false], signal),
      flow === undefined ? '0x00' : rpc(url, 'eth_getCode', [flow, 'latest'], signal),
    ])
    const { number, timestamp } = head as { number: string; timestamp: string }
    const headMs = 1000 * Number(timestamp)
    if (!Number.isSafeInteger(headMs)) throw new TypeError('its newest block has no time')
    return {
      url,
      reachable: true,
      chainId: Number(id),
      expectedChainId,
      headBlock: Number(number),
      headMs,
      hasFlow: String(code).length > 2,
    }
  } catch (error) {
    signal.throwIfAborted()
    return { url, reachable: false, reason: error instanceof Error ? error.message : String(error) }
  }
}

async function rpc(url: string, method: string, params: readonly unknown[], signal: AbortSignal): Promise<unknown> {
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })
  const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body }
  const { result, error } = (await ask(url, init, signal)) as { result?: unknown; error?: { message?: string } }
  if (error !== undefined) throw new Error(`${method}: ${String(error.message)}`)
  return result
}

async function ask(url: string, init: RequestInit, signal: AbortSignal): Promise<unknown> {
  const scope = AbortSignal.any([signal, AbortSignal.timeout(ASK_MS_MAX)])
  const response = await fetch(url, { ...init, signal: scope })
  const text = await response.text()
  if (text.length > ANSWER_BYTES_MAX) throw new Error('its answer is too long')
  return JSON.parse(text) as unknown
}

/** Files that hold keys or tokens. */
async function fileFacts(layout: Layout): Promise<readonly FileFacts[]> {
  const keys = await readdir(join(layout.top, 'keys')).catch(() => [])
  const paths = [
    networkFilePath(layout.top),
    layout.admin,
    layout.state,
    ...keys.map((name) => join(layout.top, 'keys', name)),
  ]
  const found = await Promise.all(
    paths.map(async (file) => {
      const { mode } = await stat(file).catch(() => ({ mode: undefined }))
      return mode === undefined ? [] : [{ file, mode }]
    }),
  )
  return found.flat()
}

async function goneKeysOf(layout: Layout, { nodes }: NetworkState): Promise<readonly string[]> {
  const hasStarted = (await readdir(layout.gateway).catch(() => [])).length > 0
  const files = hasStarted ? ['deployer', 'gateway', ...nodes.map(({ id }) => id)].map(layout.key) : []
  const there = await Promise.all(files.map((file) => stat(file).catch(() => undefined)))
  return files.filter((_, i) => there[i] === undefined)
}

type StatusNode = NetworkStatus['storage']['nodes'][number]

async function gatewayAnswersAt({ gateway }: NetworkStatus, signal: AbortSignal): Promise<boolean | undefined> {
  if (gateway.pid === null) return undefined
  return await ask(`${gateway.url}/health`, {}, signal).then(
    () => true,
    () => false,
  )
}

async function nodeFacts(node: StatusNode, signal: AbortSignal): Promise<NodeFacts> {
  const { id, url, state } = node
  if (node.pid === null) return { id, url, state: 'down', told: undefined }
  try {
    const told = (await ask(`${url}/v1/status`, {}, signal)) as {
      readonly ready?: unknown
      readonly chain?: { readonly message?: unknown }
      readonly nextSeq?: unknown
      readonly store?: { readonly [name: string]: unknown }
      readonly sync?: { readonly [name: string]: unknown }
      readonly member?: {
        readonly [name: string]: unknown
        readonly fault?: { readonly message?: unknown } | null
      } | null
    }
    return {
      id,
      url,
      state,
      told: {
        ready: told.ready === true,
        readOnly: told.store?.['readOnly'] === true,
        brokenBy: textOf(told.store?.['brokenBy']),
        damagedCount: whole(told.store?.['damagedCount']) ?? 0,
        chainFault: typeof told.chain?.message === 'string' ? told.chain.message : undefined,
        standing: textOf(told.member?.['status']),
        memberFault: typeof told.member?.fault?.message === 'string' ? told.member.fault.message : undefined,
        heartbeatsLeft: whole(told.member?.['heartbeatsLeft']),
        nextSeq: whole(told.nextSeq) ?? 0,
        usedBytes: whole(told.store?.['usedBytes']) ?? 0,
        capacityBytes: whole(told.store?.['capacityBytes']) ?? Infinity,
        missingBytes: whole(told.sync?.['missingBytes']) ?? 0,
        unavailableEntryCount: whole(told.sync?.['unavailableEntryCount']) ?? 0,
        etaSeconds: whole(told.sync?.['etaSeconds']) ?? null,
      },
    }
  } catch {
    signal.throwIfAborted()
    return { id, url, state, told: undefined }
  }
}

function whole(value: unknown): number | undefined {
  return Number.isSafeInteger(value) ? (value as number) : undefined
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value.slice(0, TEXT_CHARS_MAX) : undefined
}

async function logFacts(layout: Layout): Promise<readonly LogFacts[]> {
  const names = await readdir(layout.logs).catch(() => [])
  const found = names.map(async (name) => {
    const file = join(layout.logs, name)
    const { size } = await stat(file).catch(() => ({ size: undefined }))
    return size === undefined ? [] : [{ file, sizeBytes: size }]
  })
  return (await Promise.all(found)).flat()
}

async function lockFacts(layout: Layout): Promise<readonly LockFacts[]> {
  const nodes = await readdir(join(layout.top, 'nodes')).catch(() => [])
  const folders = [layout.top, layout.chain, layout.gateway, ...nodes.map((id) => layout.node(id))]
  const found = folders.map(async (folder) => {
    const file = join(folder, 'lock')
    const text = await readFile(file, 'utf8').catch(() => '')
    const pid = Number(/"pid":(\d{1,15})/.exec(text.slice(0, 512))?.[1])
    return Number.isSafeInteger(pid) && pid > 0 ? [{ file, pid, isAlive: isAlive(pid) }] : []
  })
  return (await Promise.all(found)).flat()
}

/** Processes that run a role of this directory. Only Linux lists command lines as files; elsewhere nothing is found. */
async function processFacts(layout: Layout): Promise<readonly ProcessFacts[]> {
  if (process.platform !== 'linux') return []
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
  const found = pids.map(async (pid) => {
    const words = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0')
    const config = words[words.indexOf('--config') + 1]
    const role =
      words.includes('run') && config !== undefined && config.startsWith(join(layout.top, 'config'))
        ? relative(join(layout.top, 'config'), config).replace(/\.toml$/, '')
        : words[0]?.endsWith('anvil') === true && words.some((word) => word.startsWith(`${layout.chain}/`))
          ? 'chain'
          : undefined
    return role === undefined ? [] : [{ pid: Number(pid), role }]
  })
  return (await Promise.all(found)).flat()
}
