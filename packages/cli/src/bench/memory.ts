import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { formatBytes } from '../print.ts'
import { MIB, type Scenario } from './scenario.ts'

/** Peak memory of each process while files of growing size go up and down. */
export const memory: Scenario = {
  name: 'memory',
  about: 'peak memory against file size: 16 MiB, 256 MiB, 2 GiB',
  async run(lab) {
    const sizes = lab.quick ? [1 * MIB, 16 * MIB] : [16 * MIB, 256 * MIB, 2048 * MIB]
    /** The official SDK takes minutes for more. */
    const officialMax = 256 * MIB
    const network = await lab.startNetwork()
    const rows: string[][] = []
    for (const sizeBytes of sizes) {
      lab.note(formatBytes(sizeBytes))
      const file = await lab.makeFile('memory', sizeBytes)
      const put = await lab.ours(['put', file, '--json'], network)
      const { root } = JSON.parse(put.out) as { root: string }
      const copy = join(lab.folder, 'memory.copy')
      const get = await lab.ours(['get', root, '-o', copy, '--json'], network)
      const usage = await network.usage()
      const nodes = Math.max(
        ...[...usage].filter(([role]) => role.startsWith('node-')).map(([, { rssBytes }]) => rssBytes),
      )
      let official = ['-', '-']
      if (sizeBytes <= officialMax) {
        const other = await lab.makeFile('official', sizeBytes)
        const upload = await lab.official(['upload', other], network)
        await rm(copy)
        const download = await lab.official(['download', upload.root, copy], network)
        official = [formatBytes(upload.rssBytesMax), formatBytes(download.rssBytesMax)]
      }
      await rm(copy, { force: true })
      const gateway = (await network.usage()).get('gateway')?.rssBytes ?? 0
      rows.push([
        formatBytes(sizeBytes),
        formatBytes(put.rssBytesMax),
        formatBytes(get.rssBytesMax),
        formatBytes(nodes),
        formatBytes(gateway),
        ...official,
      ])
    }
    await network.stop()
    return {
      columns: [
        'file',
        'our put',
        'our get',
        'largest node after',
        'gateway after',
        'official upload',
        'official download',
      ],
      rows,
      notes: [
        'peaks of the client processes; bar: 200 MB at every size',
        'the official SDK is not run above 256 MiB: it takes minutes',
      ],
    }
  },
}
