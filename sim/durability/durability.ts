import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createReadStream, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import { createChance, type Chance } from '../chance.ts'
import { runCommand, weightless, type NetworkFile } from '../interop/network.ts'
import { until } from '../interop/processes.ts'

/** Who uploads: our `put --code`, or the official SDK through the gateway. */
export type Uploader = 'ours' | 'official'

export type DurabilityOptions = {
  readonly code: { readonly k: number; readonly m: number }
  readonly sizeBytes: number
  readonly uploader: Uploader
  readonly seed: number
  readonly tell: (line: string) => void
}
export type DurabilityResult = {
  readonly nodes: number
  readonly rssBytes: number
  readonly upSeconds: number
  readonly putSeconds: number
  /** Until a certificate says that all m losses are survived; 0 where `put` has waited for it. */
  readonly protectedSeconds: number
  readonly first: Loss
  readonly addSeconds: number
  /** From the last replacement's start until m losses are survived again. */
  readonly healSeconds: number
  readonly second: Loss
  /** What came back wrong or not at all. Empty, or a promise is broken. */
  readonly losses: readonly string[]
}
/** After the kill of m nodes and the deletion of all they had. */
type Loss = {
  readonly killed: readonly string[]
  readonly readSeconds: number
  readonly rangeMs: readonly number[]
}

const RANGES = 20
const RANGE_BYTES_MAX: number = 2 * 1024 ** 2
const UP_SECONDS_MAX = 600
const PROTECTED_MS_MAX = 900_000
const HEAL_MS_MAX = 900_000
const LOOK_AGAIN_MS = 250
const WRITE_STEP_BYTES: number = 4 * 1024 ** 2
const official: string = resolve(import.meta.dirname, '../../packages/cli/bench/official.mjs')

/** The promise of erasure coding on real processes: m of k + m nodes die with all they had, the object reads back at once, it is at
 *  full strength once they are replaced, and survives the loss of m others. */
export async function durability(options: DurabilityOptions): Promise<DurabilityResult> {
  const { code, sizeBytes, seed, tell } = options
  const chance = createChance(seed)
  const folder = mkdtempSync(join(tmpdir(), 'weightless-durability-'))
  const dir = join(folder, 'network')
  try {
    const object = join(folder, 'object')
    await writeObject(object, sizeBytes, seed)
    const nodes = code.k + code.m
    const started = performance.now()
    await mustRun(
      dir,
      ['up', '--detach', '--port-base', '0', '--nodes', String(nodes), '--timeout', String(UP_SECONDS_MAX)],
      upOptions(options),
    )
    const upSeconds = secondsSince(started)
    tell(`${nodes} nodes ready after ${upSeconds.toFixed(1)} s`)
    return { nodes, upSeconds, ...(await lose(options, { dir, folder, object, chance })) }
  } finally {
    await runCommand(['down', '--dir', dir])
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Uploads of official clients get the code of the network. */
function upOptions({ uploader, code }: DurabilityOptions): readonly string[] {
  return uploader === 'ours' ? [] : ['--code', `${code.k}+${code.m}`]
}

type Place = { readonly dir: string; readonly folder: string; readonly object: string; readonly chance: Chance }

async function lose(options: DurabilityOptions, place: Place): Promise<Omit<DurabilityResult, 'nodes' | 'upSeconds'>> {
  const { code, tell } = options
  const { dir, chance } = place
  const losses: string[] = []
  const putMs = performance.now()
  const root = await uploadObject(options, place)
  const putSeconds = secondsSince(putMs)
  tell(`stored after ${putSeconds.toFixed(1)} s`)
  const protectedMs = performance.now()
  await until('all losses of the code are survived', PROTECTED_MS_MAX, () => survives(dir, root, code.m))
  const protectedSeconds = options.uploader === 'ours' ? 0 : secondsSince(protectedMs)
  const before = networkOf(dir).storage.nodes.map(({ id }) => id)
  const firstVictims = shuffled(before, chance).slice(0, code.m)
  const first = await killAndRead(options, place, { root, victims: firstVictims, losses })

  const addMs = performance.now()
  for (const id of firstVictims) await mustRun(dir, ['node', 'add', '--replace', id, '--timeout', '300'])
  const addSeconds = secondsSince(addMs)
  const healMs = performance.now()
  await until('it is at full strength again', HEAL_MS_MAX, () => survives(dir, root, code.m)).catch(() =>
    losses.push(`not at full strength ${HEAL_MS_MAX / 1000} s after the last replacement`),
  )
  const healSeconds = secondsSince(healMs)
  tell(`${code.m} replaced in ${addSeconds.toFixed(1)} s, healed ${healSeconds.toFixed(1)} s later`)
  const rssBytes = await rssBytesOf(dir)

  // Others than those of the first loss; where m is more than half of all, some of the new ones too.
  const now = networkOf(dir).storage.nodes.map(({ id }) => id)
  const old = now.filter((id) => before.includes(id))
  const young = now.filter((id) => !before.includes(id))
  const secondVictims = [...shuffled(old, chance), ...shuffled(young, chance)].slice(0, code.m)
  const second = await killAndRead(options, place, { root, victims: secondVictims, losses })
  return { rssBytes, putSeconds, protectedSeconds, first, addSeconds, healSeconds, second, losses }
}

async function uploadObject({ uploader, code }: DurabilityOptions, { dir, object }: Place): Promise<string> {
  if (uploader === 'ours') {
    const { root } = await mustRun(dir, ['put', object, '--code', `${code.k}+${code.m}`])
    return root
  }
  const { chain, storage, accounts } = networkOf(dir)
  const env = {
    ...process.env,
    WEIGHTLESS_BENCH_RPC: chain.rpcUrl,
    WEIGHTLESS_BENCH_INDEXER: storage.indexerUrl,
    WEIGHTLESS_BENCH_KEY: accounts[2]!.privateKey,
  }
  const { stdout } = await promisify(execFile)(process.execPath, [official, 'upload', object], { env })
  return (JSON.parse(stdout.trim().split('\n').at(-1)!) as { root: string }).root
}

/** By what the holders have signed and what they answer now. */
async function survives(dir: string, root: string, lossCount: number): Promise<boolean> {
  const { code, stdout } = await weightless({ dir }, ['info', root, '--json', '--timeout', '300'])
  await pause(LOOK_AGAIN_MS)
  if (code !== 0) return false
  const { protection } = JSON.parse(stdout.toString()) as { protection?: { lossesSurvivedNow?: number } }
  return (protection?.lossesSurvivedNow ?? 0) >= lossCount
}

async function killAndRead(
  { sizeBytes, tell }: DurabilityOptions,
  { dir, folder, object, chance }: Place,
  what: { readonly root: string; readonly victims: readonly string[]; readonly losses: string[] },
): Promise<Loss> {
  const { root, victims, losses } = what
  const chosen = networkOf(dir).storage.nodes.filter(({ id }) => victims.includes(id))
  for (const { pid } of chosen) if (pid !== null) process.kill(pid, 'SIGKILL')
  for (const { dataDir } of chosen) rmSync(dataDir, { recursive: true, force: true })
  const copy = join(folder, 'copy')
  const readMs = performance.now()
  const read = await weightless({ dir }, ['get', root, '-o', copy])
  const readSeconds = secondsSince(readMs)
  if (read.code !== 0) losses.push(`without ${victims.join(', ')}: ${read.stderr.trim().slice(-500)}`)
  else if ((await digestOf(copy)) !== (await digestOf(object)))
    losses.push(`without ${victims.join(', ')}: other bytes came back`)
  rmSync(copy, { force: true })
  const rangeMs: number[] = []
  for (let i = 0; i < RANGES; i++) {
    const start = chance.below(sizeBytes)
    const end = Math.min(sizeBytes, start + 1 + chance.below(RANGE_BYTES_MAX))
    const startedMs = performance.now()
    const range = await weightless({ dir }, ['get', root, '--range', `${start}-${end - 1}`])
    rangeMs.push(performance.now() - startedMs)
    if (range.code !== 0 || !range.stdout.equals(await slice(object, start, end)))
      losses.push(`without ${victims.join(', ')}: bytes ${start} to ${end}: ${range.stderr.trim().slice(-300)}`)
  }
  tell(
    `without ${victims.length} nodes: read in ${readSeconds.toFixed(1)} s, ${RANGES} ranges, ${losses.length} losses`,
  )
  return { killed: victims, readSeconds, rangeMs }
}

/** The JSON document of a command that succeeds. */
async function mustRun(dir: string, args: readonly string[], more: readonly string[] = []): Promise<any> {
  const { code, stdout, stderr } = await weightless({ dir }, [...args, ...more, '--json'])
  if (code !== 0)
    throw new Error(`${args.slice(0, 2).join(' ')} ended with ${code}: ${stdout}${stderr}`.slice(0, 2_000))
  return JSON.parse(stdout.toString())
}

function networkOf(dir: string): NetworkFile {
  return JSON.parse(readFileSync(join(dir, 'network.json'), 'utf8')) as NetworkFile
}

async function rssBytesOf(dir: string): Promise<number> {
  const status = await mustRun(dir, ['status'])
  const roles: { rssBytes: number | null }[] = [status, status.chain, status.gateway, ...status.storage.nodes]
  return roles.reduce((sum, { rssBytes }) => sum + (rssBytes ?? 0), 0)
}

function shuffled(ids: readonly string[], chance: Chance): string[] {
  return ids
    .map((id) => ({ id, at: chance.next() }))
    .sort((a, b) => a.at - b.at)
    .map(({ id }) => id)
}

/** One block of chance, marked with its position: no two segments are equal. */
async function writeObject(path: string, sizeBytes: number, seed: number): Promise<void> {
  const block = Buffer.from(createChance(seed).bytes(Math.min(sizeBytes, WRITE_STEP_BYTES)))
  const file = await open(path, 'w', 0o600)
  try {
    for (let at = 0; at < sizeBytes; at += block.length) {
      for (let mark = 0; mark + 6 <= block.length; mark += 262_144) block.writeUIntBE(at + mark, mark, 6)
      await file.write(block, 0, Math.min(block.length, sizeBytes - at), at)
    }
  } finally {
    await file.close()
  }
}

async function digestOf(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const part of createReadStream(path)) hash.update(part as Buffer)
  return hash.digest('hex')
}

async function slice(path: string, start: number, end: number): Promise<Buffer> {
  const file = await open(path, 'r')
  try {
    const bytes = Buffer.alloc(end - start)
    await file.read(bytes, 0, bytes.length, start)
    return bytes
  } finally {
    await file.close()
  }
}

function secondsSince(startedMs: number): number {
  return (performance.now() - startedMs) / 1000
}
