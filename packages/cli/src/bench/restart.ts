import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fail } from '../errors.ts'
import { killAll } from './killAll.ts'
import type { Lab, LabNetwork } from './lab.ts'
import { MIB, rate, type Scenario } from './scenario.ts'

/** A network whose one node holds much, killed with all its processes and started again: with its index, and without. */
export const restart: Scenario = {
  name: 'restart',
  about: 'start after kill -9 of everything with 10 GB stored, with the index and without it',
  async run(lab) {
    const sizeBytes = lab.quick ? 64 * MIB : 10_000_000_000
    const network = await lab.startNetwork({ nodes: 1 })
    const file = await lab.makeFile('object', sizeBytes)
    const put = await lab.ours(['put', file, '--json'], network)
    const { root } = JSON.parse(put.out) as { root: string }
    await rm(file)
    const rows = [
      ['first start, empty', (network.readyMs / 1000).toFixed(2), '', ''],
      await startAgain(lab, network, { what: 'after kill -9 of everything', root, sizeBytes, index: 'kept' }),
      await startAgain(lab, network, { what: 'the same, its index deleted', root, sizeBytes, index: 'deleted' }),
    ]
    await network.stop()
    return {
      columns: ['start', 'ready after s', 'store open after s', 'store opened from'],
      rows,
      notes: [
        `${(sizeBytes / 1e9).toFixed(2)} GB in one object on one node; put took ${(put.ms / 1000).toFixed(1)} s, ${rate(sizeBytes, put.ms)}`,
        'after each start the last megabyte of the object is read back, verified',
      ],
    }
  },
}

async function startAgain(
  lab: Lab,
  network: LabNetwork,
  how: {
    readonly what: string
    readonly root: string
    readonly sizeBytes: number
    readonly index: 'kept' | 'deleted'
  },
): Promise<readonly string[]> {
  const { storage } = await killAll(lab, network)
  const node = network.description.storage.nodes.find(({ id }) => id === storage.nodes[0]!.id)!
  if (how.index === 'deleted') await rm(join(node.dataDir, 'index'), { recursive: true })
  const { ms } = await lab.ours(['up', '--detach', '--json'], network)
  const range = `${how.sizeBytes - MIB}-${how.sizeBytes - 1}`
  await lab.ours(['get', how.root, '--range', range, '-o', join(lab.folder, 'tail')], network)
  const opened = await lastOpened(join(network.dir, 'logs', `${node.id}.log`))
  return [how.what, (ms / 1000).toFixed(2), (opened.ms / 1000).toFixed(2), opened.from]
}

type Opened = { readonly from: string; readonly ms: number }

async function lastOpened(logFile: string): Promise<Opened> {
  const lines = (await readFile(logFile, 'utf8')).split('\n')
  const line = lines.findLast((text) => text.includes('store.opened'))
  if (line === undefined) throw fail('BENCH_FAILED', { said: 'the log tells no store.opened' })
  return JSON.parse(line) as Opened
}
