import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { createClient } from '@weightless/sdk'
import { createChance, type Chance } from '../chance.ts'
import { call, content, startNetwork, weightless, type Network, type NetworkFile } from '../interop/network.ts'
import { until } from '../interop/processes.ts'
import { readOver, readOwn, startLoad, type Load } from './load.ts'
import { wrongBalances } from './money.ts'

/** Who starts it again: a storage node by `node start`, `up` by us; the others come back by themselves. */
export type Kind = 'storage node' | 'gateway' | 'chain' | 'up'
/** What is killed. With `up` the chain dies, and every role with it. */
export const kinds: readonly Kind[] = ['storage node', 'gateway', 'chain', 'up']

export type CrashOptions = {
  readonly kinds: readonly Kind[]
  readonly seed: number
  /** Of each kind. */
  readonly kills: number
  /** Such as `2+2`; three copies by default. */
  readonly code?: string | undefined
  readonly tell: (line: string) => void
}
export type CrashResult = {
  readonly seconds: number
  readonly kills: Readonly<Record<string, number>>
  /** Milliseconds from each kill until its process served again. */
  readonly backMs: Readonly<Record<Kind, readonly number[]>>
  readonly counts: Load['counts']
  readonly storedCount: number
  readonly storedBytes: number
  readonly blockCount: number
  /** What was acknowledged and is not so any more. Empty, or a promise is broken. */
  readonly losses: readonly string[]
}

const NODES = 4
const BACK_MS_MAX = 90_000
const BETWEEN_MS_MAX = 1_500

/** Kills real processes of a real network in the middle of a mixed load, then compares all that was acknowledged. */
export async function crash({ kinds, seed, kills, code, tell }: CrashOptions): Promise<CrashResult> {
  const chance = createChance(seed)
  const startedMs = performance.now()
  const flags = ['--nodes', String(NODES), ...(code === undefined ? [] : ['--code', code])]
  let network = await startNetwork(flags)
  let file = network.file
  const load = startLoad(() => file, { chance })
  const backMs: Record<Kind, number[]> = { 'storage node': [], gateway: [], chain: [], up: [] }
  // The first block too: a chain is known by it.
  const heads = new Map([[0, await blockHash(file, 0)]])
  const losses: string[] = []
  try {
    for (const kind of plan(kinds, kills, chance)) {
      // In the middle of something: after at least one more acknowledgement, or a while.
      const before = load.stored.length
      await until('the load goes on', 20_000, () => load.stored.length > before).catch(() => undefined)
      await pause(chance.below(BETWEEN_MS_MAX))
      const head = await headOf(file).catch(() => undefined)
      if (head !== undefined) heads.set(head.number, head.hash)
      const killedMs = performance.now()
      const what = await killOne(kind, network, chance)
      if (kind === 'up') {
        network = await startNetwork(flags, network.dir)
      } else await backAgain(kind, what, network)
      file = fileOf(network)
      backMs[kind].push(performance.now() - killedMs)
      tell(
        `killed ${kind} ${what.name}, back after ${backMs[kind].at(-1)!.toFixed(0)} ms, ${load.stored.length} stored`,
      )
    }
    await load.stop()
    tell(`comparing ${load.stored.length} acknowledged uploads`)
    await until('every role runs', BACK_MS_MAX, () => isHealthy(network))
    losses.push(...load.wrong, ...(await compareAll(load, file)))
    for (const [number, hash] of heads) {
      const found = await blockHash(file, number)
      if (found !== hash) losses.push(`block ${number} was ${hash} and is ${found}`)
    }
    losses.push(...(await wrongBalances(file)))
    const { number: blockCount } = await headOf(file)
    return {
      seconds: (performance.now() - startedMs) / 1000,
      kills: Object.fromEntries(kinds.map((kind) => [kind, backMs[kind].length])),
      backMs,
      counts: load.counts,
      storedCount: load.stored.length,
      storedBytes: load.stored.reduce((sum, one) => sum + one.sizeBytes, 0),
      blockCount,
      losses,
    }
  } finally {
    await load.stop()
    await network.stop()
  }
}

/** Each kind as often as asked for, in an order from the seed. */
function plan(kinds: readonly Kind[], kills: number, chance: Chance): readonly Kind[] {
  const all = kinds.flatMap((kind) => Array.from({ length: kills }, () => kind))
  for (let i = all.length - 1; i > 0; i--) {
    const other = chance.below(i + 1)
    ;[all[i], all[other]] = [all[other]!, all[i]!]
  }
  return all
}

type Killed = { readonly name: string; readonly pid: number }

async function killOne(kind: Kind, network: Network, chance: Chance): Promise<Killed> {
  let victim: Killed | undefined
  await until(`a ${kind} runs`, BACK_MS_MAX, async () => {
    victim = await findOne(kind, network, chance)
    return victim !== undefined
  })
  process.kill(victim!.pid, 'SIGKILL')
  return victim!
}

async function findOne(kind: Kind, network: Network, chance: Chance): Promise<Killed | undefined> {
  const file = fileOf(network)
  if (kind === 'up') return { name: 'up', pid: file.pid }
  if (kind === 'storage node') {
    const { id, pid } = file.storage.nodes[chance.below(file.storage.nodes.length)]!
    return pid === null ? undefined : { name: id, pid }
  }
  const status = await statusOf(network)
  const { pid, state } = kind === 'gateway' ? status.gateway : status.chain
  return pid === null || state !== 'running' ? undefined : { name: kind, pid }
}

async function backAgain(kind: Kind, killed: Killed, network: Network): Promise<void> {
  await until(`${killed.name} is back`, BACK_MS_MAX, async () => {
    if (kind === 'storage node') {
      const { code } = await weightless(network, ['node', 'start', killed.name])
      const node = fileOf(network).storage.nodes.find(({ id }) => id === killed.name)!
      return code === 0 && node.pid !== null && node.pid !== killed.pid
    }
    const status = await statusOf(network)
    if (kind === 'gateway') return status.gateway.state === 'running' && status.gateway.pid !== killed.pid
    return status.chain.pid !== null && status.chain.pid !== killed.pid && (await isAnswering(fileOf(network)))
  })
}

type Status = {
  readonly ready: boolean
  readonly chain: { readonly pid: number | null; readonly state: string }
  readonly gateway: { readonly pid: number | null; readonly state: string }
  readonly storage: { readonly nodes: readonly { readonly state: string; readonly readOnly: boolean | null }[] }
}

async function statusOf(network: Network): Promise<Status> {
  // What `weightless status` asks; a process for each question would be most of the load.
  const { url, token } = JSON.parse(readFileSync(join(network.dir, 'admin.json'), 'utf8')) as Record<string, string>
  const response = await fetch(`${url}/v1/status`, { headers: { authorization: `Bearer ${token}` } })
  return (await response.json()) as Status
}

async function isHealthy(network: Network): Promise<boolean> {
  const { ready, gateway, chain, storage } = await statusOf(network)
  const states = [gateway.state, chain.state, ...storage.nodes.map((node) => node.state)]
  return ready && states.every((state) => state === 'running') && storage.nodes.every((node) => node.readOnly === false)
}

async function isAnswering(file: NetworkFile): Promise<boolean> {
  return headOf(file).then(
    () => true,
    () => false,
  )
}

async function blockHash(file: NetworkFile, number: number): Promise<string | undefined> {
  const { result } = await call(file.chain.rpcUrl, 'eth_getBlockByNumber', [`0x${number.toString(16)}`, false])
  return result?.hash as string | undefined
}

async function headOf(file: NetworkFile): Promise<{ readonly number: number; readonly hash: string }> {
  const { result } = await call(file.chain.rpcUrl, 'eth_getBlockByNumber', ['latest', false])
  return { number: Number(result.number), hash: result.hash as string }
}

function fileOf(network: Network): NetworkFile {
  return JSON.parse(readFileSync(join(network.dir, 'network.json'), 'utf8')) as NetworkFile
}

/** Byte for byte from the holders and from the gateway; and every transaction that was told is still in its block. */
async function compareAll(load: Load, file: NetworkFile): Promise<readonly string[]> {
  const { chain, contracts } = file
  const client = createClient({
    network: {
      rpcUrl: chain.rpcUrl,
      chainId: chain.chainId,
      flow: contracts.flow as never,
      registry: contracts.storageRegistry as never,
    },
  })
  const losses: string[] = []
  for (const one of load.stored) {
    const expected = Buffer.from(content(one.sizeBytes, one.contentSeed))
    for (const [from, read] of [
      ['the holders', () => readOwn(client, one)],
      ['the gateway', () => readOver(file, one.root)],
    ] as const) {
      const bytes = await read().catch((error: unknown) => String(error).slice(0, 300))
      if (typeof bytes === 'string') losses.push(`${one.root} of ${one.by} is not at ${from}: ${bytes}`)
      else if (!bytes.equals(expected)) losses.push(`${one.root} of ${one.by} has other bytes at ${from}`)
    }
    // SDK 1.2.8 tells none when a try of its own was cut short and the next one found the entry.
    if (one.txHash === '') continue
    const { result } = await call(chain.rpcUrl, 'eth_getTransactionReceipt', [one.txHash])
    if (result?.status !== '0x1') losses.push(`transaction ${one.txHash} of ${one.by} is not in a block any more`)
  }
  return losses
}
