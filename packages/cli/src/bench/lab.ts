import { execFile, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, open, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { availableParallelism, cpus, loadavg, release, tmpdir, totalmem } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fail } from '../errors.ts'
import type { NetworkStatus } from '../local/status.ts'
import type { NetworkDescription } from '../networkFile.ts'
import { processUsage, type ProcessUsage } from '../processUsage.ts'
import { MIB } from './scenario.ts'

/** Where a scenario works: files, networks and processes of its own, all gone at the end. */
export type Lab = {
  readonly quick: boolean
  readonly folder: string
  /** Our bundle. */
  readonly entry: string
  readonly signal: AbortSignal
  note(line: string): void
  /** A file of random bytes. */
  makeFile(name: string, sizeBytes: number): Promise<string>
  /** Runs our command line in a process of its own. */
  ours(args: readonly string[], network?: LabNetwork): Promise<Measured>
  /** Runs the official SDK in a process of its own. Throws `BENCH_UNAVAILABLE` when it is not installed. */
  official(args: readonly string[], network?: LabNetwork): Promise<OfficialResult>
  /** `code`: what uploads that name none are protected by; by default that of `up`. */
  startNetwork(options?: { readonly nodes?: number; readonly code?: string }): Promise<LabNetwork>
}

/** A finished process. Wall time includes its start. */
export type Measured = {
  readonly ms: number
  readonly out: string
  readonly cpuSeconds: number
  readonly rssBytesMax: number
  /** To sockets and files, as the system counts; exact to the last moments of the process, 0 where the system does not tell. */
  readonly writtenBytes: number
}
/** `ms` is the work alone, as the process itself measured it; `processMs` includes its start, as `Measured` does. */
export type OfficialResult = {
  readonly root: string
  readonly ms: number
  readonly processMs: number
  readonly cpuSeconds: number
  readonly rssBytesMax: number
}

export type LabNetwork = {
  readonly dir: string
  readonly description: NetworkDescription
  /** From the start of the process to ready. */
  readonly readyMs: number
  /** CPU and memory of every process by role. */
  usage(): Promise<ReadonlyMap<string, ProcessUsage>>
  stop(): Promise<void>
}

export type Machine = {
  readonly cpu: string
  readonly cores: number
  readonly memoryBytes: number
  /** Runnable processes of the last minute before the run: above a few tenths, others were measured too. */
  readonly loadBefore: number
  readonly system: string
  readonly node: string
  readonly commit: string
}

/** How often a process is looked at while it runs. Its peak memory is kept by the kernel; its CPU time is exact to this. */
const WATCH_STEP_MS = 20
const OUTPUT_BYTES_MAX: number = 16 * MIB
const WRITE_STEP_BYTES: number = 4 * MIB

export async function withLab<T>(
  options: {
    readonly quick: boolean
    readonly entry: string
    readonly signal: AbortSignal
    readonly note: (line: string) => void
  },
  work: (lab: Lab) => Promise<T>,
): Promise<T> {
  const { entry, signal } = options
  const folder = await mkdtemp(join(tmpdir(), 'weightless-bench-'))
  const networks = new Set<LabNetwork>()
  const lab: Lab = {
    quick: options.quick,
    folder,
    entry,
    signal,
    note: options.note,
    makeFile: (name, sizeBytes) => makeFile(join(folder, name), sizeBytes, signal),
    ours: (args, network) =>
      measured([entry, ...args, ...(network === undefined ? [] : ['--dir', network.dir])], {}, signal),
    official: async (args, network) => {
      const script = officialScript(entry)
      const env = network === undefined ? {} : environmentOf(network.description)
      const { out, ms } = await measured([script, ...args], env, signal)
      return { ...(JSON.parse(out.trim().split('\n').at(-1)!) as OfficialResult), processMs: ms }
    },
    startNetwork: async ({ nodes = 6, code } = {}) => {
      const dir = await mkdtemp(join(folder, 'network-'))
      const started = performance.now()
      const { out } = await measured(
        [
          entry,
          'up',
          '--detach',
          '--json',
          '--dir',
          dir,
          '--port-base',
          '0',
          '--nodes',
          String(nodes),
          ...(code === undefined ? [] : ['--code', code]),
        ],
        {},
        signal,
      )
      const readyMs = performance.now() - started
      const network: LabNetwork = {
        dir,
        description: JSON.parse(out) as NetworkDescription,
        readyMs,
        usage: () => networkUsage(entry, dir, signal),
        stop: async () => {
          networks.delete(network)
          await measured([entry, 'down', '--json', '--dir', dir], {}, new AbortController().signal)
          await rm(dir, { recursive: true, force: true })
        },
      }
      networks.add(network)
      return network
    },
  }
  try {
    return await work(lab)
  } finally {
    await Promise.allSettled([...networks].map((network) => network.stop()))
    await rm(folder, { recursive: true, force: true })
  }
}

export async function describeMachine(entry: string): Promise<Machine> {
  const commit = await new Promise<string>((done) => {
    execFile(
      'git',
      ['describe', '--always', '--dirty', '--abbrev=12'],
      { cwd: dirname(entry), timeout: 5_000 },
      (error, stdout) => done(error === null ? stdout.trim() : 'unknown'),
    )
  })
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    loadBefore: Number(loadavg()[0]!.toFixed(2)),
    system: `${process.platform} ${process.arch} ${release()}`,
    node: process.version,
    commit,
  }
}

/** Runs Node with these arguments to its end. Throws `BENCH_FAILED` with what it said when it fails. */
async function measured(args: readonly string[], env: NodeJS.ProcessEnv, signal: AbortSignal): Promise<Measured> {
  signal.throwIfAborted()
  const started = performance.now()
  const child = spawn(process.execPath, [...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    // All of it is without TLS, and where a machine names certificates of its own, reading them costs each process 90 ms.
    env: { ...process.env, NODE_EXTRA_CA_CERTS: undefined, ...env },
  })
  let out = ''
  let err = ''
  child.stdout.on('data', (part: Buffer) => {
    if (out.length < OUTPUT_BYTES_MAX) out += part.toString()
  })
  child.stderr.on('data', (part: Buffer) => (err = (err + part.toString()).slice(-4_000)))
  let last: ProcessUsage = { rssBytes: 0, cpuSeconds: 0 }
  let rssBytesMax = 0
  let writtenBytes = 0
  const watch = setInterval(() => {
    void processUsage(child.pid!).then((usage) => (last = usage ?? last))
    rssBytesMax = Math.max(rssBytesMax, peakBytes(child.pid!), last.rssBytes)
    writtenBytes = Math.max(writtenBytes, writtenBytesOf(child.pid!))
  }, WATCH_STEP_MS)
  const stop = (): void => void child.kill('SIGTERM')
  signal.addEventListener('abort', stop, { once: true })
  const code = await new Promise<number | null>((done) => {
    child.once('close', done)
    child.once('error', () => done(null))
  })
  clearInterval(watch)
  signal.removeEventListener('abort', stop)
  signal.throwIfAborted()
  if (code !== 0) throw fail('BENCH_FAILED', { exitCode: code, said: (err || out).trim().slice(-1_000) })
  return { ms: performance.now() - started, out, cpuSeconds: last.cpuSeconds, rssBytesMax, writtenBytes }
}

/** Peak resident memory as the kernel kept it; 0 where it does not tell. */
function peakBytes(pid: number): number {
  try {
    return Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024
  } catch {
    return 0
  }
}

/** What a process has written to sockets and files so far; 0 when it is gone or the system does not tell. */
export function writtenBytesOf(pid: number): number {
  try {
    return Number(/^wchar: (\d+)/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))?.[1] ?? 0)
  } catch {
    return 0
  }
}

async function networkUsage(
  entry: string,
  dir: string,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, ProcessUsage>> {
  const { out } = await measured([entry, 'status', '--json', '--dir', dir], {}, signal)
  const status = JSON.parse(out) as NetworkStatus
  const roles: [string, number | null][] = [
    ['up', status.pid],
    ['chain', status.chain.pid],
    ['gateway', status.gateway.pid],
    ...status.storage.nodes.map((node): [string, number | null] => [node.id, node.pid]),
  ]
  const usage = new Map<string, ProcessUsage>()
  for (const [role, pid] of roles) {
    const taken = pid === null ? undefined : await processUsage(pid)
    if (taken !== undefined) usage.set(role, taken)
  }
  return usage
}

function environmentOf(network: NetworkDescription): NodeJS.ProcessEnv {
  return {
    WEIGHTLESS_BENCH_RPC: network.chain.rpcUrl,
    WEIGHTLESS_BENCH_INDEXER: network.storage.indexerUrl,
    WEIGHTLESS_BENCH_KEY: network.accounts[2]!.privateKey,
  }
}

/** The script lies beside the bundle in a source checkout; the official SDK is a development dependency there. */
function officialScript(entry: string): string {
  const script = resolve(dirname(entry), '..', 'bench', 'official.mjs')
  try {
    if (existsSync(script)) {
      createRequire(script).resolve('@0gfoundation/0g-ts-sdk')
      return script
    }
  } catch {
    // Told below, like a script that is not there.
  }
  throw fail('BENCH_UNAVAILABLE', { missing: '@0gfoundation/0g-ts-sdk' })
}

async function makeFile(path: string, sizeBytes: number, signal: AbortSignal): Promise<string> {
  const file = await open(path, 'w', 0o600)
  try {
    // One random block, marked with its position, is as good as all of them being random, and made at the speed of the disk.
    const block = randomBytes(Math.min(sizeBytes, WRITE_STEP_BYTES))
    for (let at = 0; at < sizeBytes; at += block.length) {
      signal.throwIfAborted()
      block.writeUIntBE(at, 0, Math.min(6, block.length))
      await file.write(block, 0, Math.min(block.length, sizeBytes - at), at)
    }
    await file.sync()
  } finally {
    await file.close()
  }
  return path
}
