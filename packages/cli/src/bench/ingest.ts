import { setTimeout as sleep } from 'node:timers/promises'
import { fail } from '../errors.ts'
import { formatBytes } from '../print.ts'
import type { Lab, LabNetwork } from './lab.ts'
import { cpuByRole } from './limit.ts'
import { createRpcCall } from './rpcCall.ts'
import type { Scenario } from './scenario.ts'

const FINAL_STEP_MS = 200
const FINAL_MS_MAX = 120_000

/** What the gateway does with uploads: three copies, for which the bars are, or the code of `up`. */
const POLICIES = [
  { code: 'none', name: 'three copies' },
  { code: '4+2', name: '4+2' },
] as const

/** The official SDK uploads through the gateway until the entry is final: on three nodes, or by shards with a certificate. */
export const ingest: Scenario = {
  name: 'ingest',
  about: 'CPU of each process per 100 MB that the official SDK uploads, by what the gateway protects it with',
  async run(lab) {
    const sizeBytes = lab.quick ? 10_000_000 : 100_000_000
    const columns: string[][] = []
    const notes: string[] = []
    for (const policy of POLICIES) {
      const { seconds, note } = await measure(policy, sizeBytes, lab)
      columns.push(seconds)
      notes.push(note)
    }
    return {
      columns: ['process', ...POLICIES.map(({ name }) => `${name}: CPU s per 100 MB`)],
      rows: PROCESSES.map((name, i) => [name, ...columns.map((seconds) => seconds[i]!)]),
      notes: [...notes, 'bars, at three copies: gateway 1.5, all servers 4'],
    }
  },
}

const PROCESSES = [
  'up',
  'chain',
  'gateway',
  'six storage nodes together',
  'all servers',
  'official SDK itself',
] as const

async function measure(
  { code, name }: (typeof POLICIES)[number],
  sizeBytes: number,
  lab: Lab,
): Promise<{ readonly seconds: string[]; readonly note: string }> {
  const network = await lab.startNetwork({ code })
  // Code that runs for the first time costs its compilation: the second upload is what a running network does.
  await untilFinal(
    await lab.official(['upload', await lab.makeFile(`warm ${code}`, 10_000_000)], network),
    network,
    lab,
  )
  const file = await lab.makeFile(`ingest ${code}`, sizeBytes)
  const before = await network.usage()
  lab.note(`official upload, ${name}`)
  const upload = await lab.official(['upload', file], network)
  const finalMs = await untilFinal(upload, network, lab)
  const after = await network.usage()
  const taken = cpuByRole(before, after)
  await network.stop()
  const servers = [...taken.values()].reduce((sum, seconds) => sum + seconds, 0)
  const roles = ['up', 'chain', 'gateway', 'nodes'].map((role) => taken.get(role) ?? 0)
  const scale = 100_000_000 / sizeBytes
  return {
    seconds: [...roles, servers, upload.cpuSeconds].map((seconds) => (seconds * scale).toFixed(2)),
    note: `${name}: ${sizeBytes / 1_000_000} MB in ${(upload.ms / 1000).toFixed(1)} s, final ${(finalMs / 1000).toFixed(1)} s later; gateway ${formatBytes(after.get('gateway')?.rssBytes ?? 0)} of memory`,
  }
}

/** Milliseconds until the gateway says so. Throws `BENCH_FAILED`. */
async function untilFinal({ root }: { readonly root: string }, network: LabNetwork, lab: Lab): Promise<number> {
  const call = createRpcCall(network.description.storage.gatewayUrl)
  const startMs = performance.now()
  while (((await call('zgs_getFileInfo', [root])) as { finalized?: boolean } | null)?.finalized !== true) {
    if (performance.now() - startMs > FINAL_MS_MAX) throw fail('BENCH_FAILED', { reason: 'never final', root })
    await sleep(FINAL_STEP_MS, undefined, { signal: lab.signal })
  }
  return performance.now() - startMs
}
