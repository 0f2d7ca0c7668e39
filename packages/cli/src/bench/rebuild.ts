import { rm } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { fail } from '../errors.ts'
import { MIB, rate, type Scenario } from './scenario.ts'

const STEP_MS = 20
const WAIT_MS_MAX = 240_000

/** A holder is stopped and its directory deleted; it is started again and fetches what it lost from the two others. */
export const rebuild: Scenario = {
  name: 'rebuild',
  about: 'one lost replica fetched from the other holders, beside a download of the same object',
  async run(lab) {
    const sizeBytes = (lab.quick ? 16 : 1024) * MIB
    const network = await lab.startNetwork()
    const file = await lab.makeFile('object', sizeBytes)
    const { root } = JSON.parse((await lab.ours(['put', file, '--json'], network)).out) as { root: string }
    await rm(file)
    const got = await lab.ours(['get', root, '-o', file], network)
    await rm(file)
    const victim = await holderOf(root, network.description.storage.nodes)
    await lab.ours(['node', 'stop', victim.id, '--json'], network)
    await rm(victim.dataDir, { recursive: true, force: true })
    const before = await network.usage()
    await lab.ours(['node', 'start', victim.id, '--json'], network)
    const startedMs = performance.now()
    const fetchedBytes = await untilWhole(victim.url, root, lab.signal)
    const ms = performance.now() - startedMs
    const after = await network.usage()
    const cpu = [...after].reduce((sum, [role, { cpuSeconds }]) => {
      const earlier = role === victim.id ? 0 : (before.get(role)?.cpuSeconds ?? 0)
      return sum + cpuSeconds - earlier
    }, 0)
    await network.stop()
    return {
      columns: ['what', 'MiB', 's', 'rate', 'bytes / ideal', 'CPU s of all roles'],
      rows: [
        [
          'rebuild of a lost replica',
          String(sizeBytes / MIB),
          (ms / 1000).toFixed(1),
          rate(sizeBytes, ms),
          (fetchedBytes / sizeBytes).toFixed(4),
          cpu.toFixed(1),
        ],
        [
          'get of the same object',
          String(sizeBytes / MIB),
          (got.ms / 1000).toFixed(1),
          rate(sizeBytes, got.ms),
          '',
          '',
        ],
      ],
      notes: [
        'from the moment the node is ready again to the moment it can sign; fetched bytes include the objects by which the network proves itself',
        'the sync is limited to 64 MiB/s by SYNC_BYTES_PER_SECOND_MAX, so that users go first',
      ],
    }
  },
}

type Place = { readonly id: string; readonly url: string; readonly dataDir: string }

async function isWhole(url: string, root: string): Promise<boolean> {
  const answer = await fetch(`${url}/v1/entries/${root}`)
  if (!answer.ok) return false
  return ((await answer.json()) as { entries: { complete: boolean }[] }).entries.some(({ complete }) => complete)
}

async function holderOf(root: string, nodes: readonly Place[]): Promise<Place> {
  for (const node of nodes) if (await isWhole(node.url, root)) return node
  throw fail('BENCH_FAILED', { reason: 'no node holds the object' })
}

async function untilWhole(url: string, root: string, signal: AbortSignal): Promise<number> {
  const deadline = performance.now() + WAIT_MS_MAX
  while (!(await isWhole(url, root).catch(() => false))) {
    if (performance.now() > deadline) throw fail('BENCH_FAILED', { reason: 'the node was not rebuilt in time' })
    await sleep(STEP_MS, undefined, { signal })
  }
  const told = (await (await fetch(`${url}/v1/status`)).json()) as { sync: { fetchedBytes: number } }
  return told.sync.fetchedBytes
}
