import { rm } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { slotsOf, type Hex } from '@weightless/core'
import type { StoredResult } from '@weightless/sdk'
import { fail } from '../errors.ts'
import { writtenBytesOf, type Lab, type LabNetwork } from './lab.ts'
import { MIB, rate, type Scenario } from './scenario.ts'
import { holdersBySlot, pidsOf } from './slots.ts'

const STEP_MS = 20
const WAIT_MS_MAX = 600_000
const GB = 1e9

/** What is lost of one object: a copy, or all shards of these slots. Slots of parity are numbered from k on. */
type Loss = {
  readonly what: string
  readonly nodes: number
  readonly code: { readonly k: number; readonly m: number } | undefined
  readonly slots: readonly number[]
}

const LOSSES: readonly Loss[] = [
  { what: 'one of three copies', nodes: 6, code: undefined, slots: [0] },
  { what: '4+2, a data slot', nodes: 6, code: { k: 4, m: 2 }, slots: [0] },
  { what: '4+2, a parity slot', nodes: 6, code: { k: 4, m: 2 }, slots: [4] },
  { what: '4+2, two data slots', nodes: 6, code: { k: 4, m: 2 }, slots: [0, 1] },
  { what: '4+2, both parity slots', nodes: 6, code: { k: 4, m: 2 }, slots: [4, 5] },
  { what: '10+4, a data slot', nodes: 14, code: { k: 10, m: 4 }, slots: [0] },
]

/** Holders are stopped and their directories deleted; they are started again and fetch or compute what they have lost. */
export const rebuild: Scenario = {
  name: 'rebuild',
  about: 'a lost copy and lost shards brought back by the other holders, against k bytes for each lost one',
  async run(lab) {
    const sizeBytes = (lab.quick ? 16 : 1024) * MIB
    const rows: string[][] = []
    for (const loss of LOSSES) {
      lab.note(loss.what)
      // A network for each: nothing else is lost with the node.
      const network = await lab.startNetwork({ nodes: loss.nodes })
      rows.push(await rebuildOnce(lab, network, loss, sizeBytes))
      await network.stop()
    }
    return {
      columns: [
        'lost',
        'MiB lost',
        's',
        'lost bytes / s',
        's per lost GB',
        'read / lost',
        'theory',
        'read / theory',
        'CPU s of all roles per lost GB',
        'get of the same object, s',
      ],
      rows,
      notes: [
        `${sizeBytes / MIB} MiB each; from the moment the first node is ready again to the moment all have what they lost; read: what the other nodes wrote to their sockets meanwhile, the objects by which the network proves itself among it`,
        'theory: k bytes read for each lost one. Several slots are lost at once, each with a node of its own: each computes its own from k others, and may have to compute what else is lost for its proof, up to 2 k; what they give each other is not counted as read',
        'a node reads at most 64 MiB/s for its repair (SYNC_BYTES_PER_SECOND_MAX), so that users go first: no less than k · 14.9 s per GB that one node has lost',
      ],
    }
  },
}

async function rebuildOnce(lab: Lab, network: LabNetwork, loss: Loss, sizeBytes: number): Promise<string[]> {
  const { code, slots } = loss
  const file = await lab.makeFile('object', sizeBytes)
  const name = code === undefined ? 'none' : `${code.k}+${code.m}`
  const put = JSON.parse((await lab.ours(['put', file, '--code', name, '--json'], network)).out) as StoredResult
  await rm(file)
  const got = await lab.ours(['get', put.root, '-o', file], network)
  await rm(file)
  const victims = code === undefined ? [await copyHolder(put.root, network)] : await slotHolders(network, put, slots)
  for (const { id } of victims) await lab.ours(['node', 'stop', id, '--json'], network)
  for (const { dataDir } of victims) await rm(dataDir, { recursive: true, force: true })
  const lostIds = victims.map(({ id }) => id)
  const others = network.description.storage.nodes.map(({ id }) => id).filter((id) => !lostIds.includes(id))
  const sentBefore = await sentBytesOf(network, others)
  const before = await network.usage()
  // The first one begins while the next one starts.
  let startedMs: number | undefined
  for (const { id } of victims) {
    await lab.ours(['node', 'start', id, '--json'], network)
    startedMs ??= performance.now()
  }
  for (const { url, slot } of victims)
    await until(lab, () => (code === undefined ? isWhole(url, put.root) : hasSlot(url, put.root, slot)))
  const ms = performance.now() - startedMs!
  const readBytes = (await sentBytesOf(network, others)) - sentBefore
  const after = await network.usage()
  const cpuSeconds = [...after].reduce(
    (sum, [role, usage]) => sum + usage.cpuSeconds - (lostIds.includes(role) ? 0 : (before.get(role)?.cpuSeconds ?? 0)),
    0,
  )
  const theory = code?.k ?? 1
  const lostBytes = code === undefined ? sizeBytes : (sizeBytes / code.k) * slots.length
  return [
    loss.what,
    (lostBytes / MIB).toFixed(0),
    (ms / 1000).toFixed(1),
    rate(lostBytes, ms),
    ((ms / 1000 / lostBytes) * GB).toFixed(1),
    (readBytes / lostBytes).toFixed(3),
    String(theory),
    (readBytes / lostBytes / theory).toFixed(3),
    ((cpuSeconds / lostBytes) * GB).toFixed(1),
    (got.ms / 1000).toFixed(1),
  ]
}

type Victim = { readonly id: string; readonly url: string; readonly dataDir: string; readonly slot: number }

async function slotHolders(network: LabNetwork, put: StoredResult, slots: readonly number[]): Promise<Victim[]> {
  const holders = await holdersBySlot(network, put)
  return slots.map((slot) => {
    const holder = holders.get(slot)
    if (holder === undefined) throw fail('BENCH_FAILED', { reason: 'nobody holds the slot', slot })
    return { ...holder, slot }
  })
}

async function copyHolder(root: string, { description }: LabNetwork): Promise<Victim> {
  for (const node of description.storage.nodes) if (await isWhole(node.url, root)) return { ...node, slot: 0 }
  throw fail('BENCH_FAILED', { reason: 'no node holds the object' })
}

async function isWhole(url: string, root: string): Promise<boolean> {
  return (await entriesOf(url, root)).some(({ complete }) => complete)
}

/** Every shard of the slot, of a parity that the node knows to be proven. */
async function hasSlot(url: string, root: string, slot: number): Promise<boolean> {
  const parities = (await entriesOf(url, root)).flatMap((entry) => entry.parities)
  return parities.some(({ slots, proven }) => proven && slotsOf(slots).includes(slot))
}

type EntryAnswer = {
  readonly complete: boolean
  readonly parities: readonly { readonly proven: boolean; readonly slots: Hex }[]
}

async function entriesOf(url: string, root: string): Promise<readonly EntryAnswer[]> {
  const answer = await fetch(`${url}/v1/entries/${root}`).catch(() => undefined)
  return answer?.ok === true ? ((await answer.json()) as { entries: EntryAnswer[] }).entries : []
}

async function sentBytesOf(network: LabNetwork, ids: readonly string[]): Promise<number> {
  return (await pidsOf(network, ids)).reduce((sum, pid) => sum + writtenBytesOf(pid), 0)
}

async function until(lab: Lab, isSo: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + WAIT_MS_MAX
  while (!(await isSo())) {
    if (performance.now() > deadline)
      throw fail('BENCH_FAILED', { reason: 'what was lost was not brought back in time' })
    await sleep(STEP_MS, undefined, { signal: lab.signal })
  }
}
