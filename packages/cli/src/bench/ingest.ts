import { setTimeout as sleep } from 'node:timers/promises'
import { createRpcCall } from './rpcCall.ts'
import { cpuByRole } from './limit.ts'
import type { Scenario } from './scenario.ts'

const FINAL_STEP_MS = 200
const FINAL_MS_MAX = 120_000

/** The official SDK uploads through the gateway until the entry is final, that is on three nodes. */
export const ingest: Scenario = {
  name: 'ingest',
  about: 'CPU of each process per 100 MB that the official SDK uploads',
  async run(lab) {
    const sizeBytes = lab.quick ? 10_000_000 : 100_000_000
    const network = await lab.startNetwork()
    const file = await lab.makeFile('ingest', sizeBytes)
    // Code that runs for the first time costs its compilation: the second upload is what a running network does.
    await lab.official(['upload', await lab.makeFile('warm', 10_000_000)], network)
    const before = await network.usage()
    lab.note('official upload')
    const upload = await lab.official(['upload', file], network)
    const call = createRpcCall(network.description.storage.gatewayUrl)
    const deadline = performance.now() + FINAL_MS_MAX
    while (((await call('zgs_getFileInfo', [upload.root])) as { finalized?: boolean } | null)?.finalized !== true) {
      if (performance.now() > deadline) break
      await sleep(FINAL_STEP_MS, undefined, { signal: lab.signal })
    }
    const taken = cpuByRole(before, await network.usage())
    await network.stop()
    const scale = 100_000_000 / sizeBytes
    const servers = [...taken.values()].reduce((sum, seconds) => sum + seconds, 0)
    return {
      columns: ['process', 'CPU s per 100 MB'],
      rows: [
        ...[...taken].map(([role, seconds]) => [
          role === 'nodes' ? 'six storage nodes together' : role,
          (seconds * scale).toFixed(2),
        ]),
        ['all servers', (servers * scale).toFixed(2)],
        ['official SDK itself', (upload.cpuSeconds * scale).toFixed(2)],
      ],
      notes: [
        `${sizeBytes / 1_000_000} MB in ${(upload.ms / 1000).toFixed(1)} s, three copies`,
        'bars: gateway 1.5, all servers 4',
      ],
    }
  },
}
