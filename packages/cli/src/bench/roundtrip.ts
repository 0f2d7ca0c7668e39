import { join } from 'node:path'
import { fail } from '../errors.ts'
import { describeWork } from './limit.ts'
import { sameFile } from './sameFile.ts'
import { MIB, rate, times, type Scenario } from './scenario.ts'

/** A file goes up and comes down again against one network, each client in a process of its own: ours is the command line. Both
 *  are timed twice: what the SDKs do, and the whole processes with their start. Of ours the first is the whole command, with
 *  opening its client and, for a download, flushing the file. */
export const roundtrip: Scenario = {
  name: 'roundtrip',
  about: 'upload and download of 256 MiB, beside the official SDK against the same network',
  async run(lab) {
    const sizeBytes = (lab.quick ? 8 : 256) * MIB
    const network = await lab.startNetwork()
    const ourFile = await lab.makeFile('ours', sizeBytes)
    const theirFile = await lab.makeFile('theirs', sizeBytes)
    lab.note('our upload')
    const before = await network.usage()
    const put = await lab.ours(['put', ourFile, '--json'], network)
    const work = describeWork(before, await network.usage(), put)
    const { root, ms: putMs } = JSON.parse(put.out) as { root: string; ms: number }
    lab.note('our download')
    const beforeGet = await network.usage()
    const get = await lab.ours(['get', root, '-o', join(lab.folder, 'ours.copy'), '--json'], network)
    const workGet = describeWork(beforeGet, await network.usage(), get)
    const { ms: getMs } = JSON.parse(get.out) as { ms: number }
    await checkSame(ourFile, join(lab.folder, 'ours.copy'))
    lab.note('official upload')
    const upload = await lab.official(['upload', theirFile], network)
    lab.note('official download')
    const download = await lab.official(['download', upload.root, join(lab.folder, 'theirs.copy')], network)
    await checkSame(theirFile, join(lab.folder, 'theirs.copy'))
    await network.stop()
    const row = (what: string, ourMs: number, theirMs: number): string[] => [
      what,
      `${ourMs.toFixed(0)} ms, ${rate(sizeBytes, ourMs)}`,
      `${theirMs.toFixed(0)} ms, ${rate(sizeBytes, theirMs)}`,
      times(ourMs, theirMs),
    ]
    return {
      columns: ['what', 'ours', 'official SDK 1.2.8', 'ratio'],
      rows: [
        row('upload', putMs, upload.ms),
        row('download', getMs, download.ms),
        row('both', putMs + getMs, upload.ms + download.ms),
        row('upload, whole process', put.ms, upload.processMs),
        row('download, whole process', get.ms, download.processMs),
        row('both, whole processes', put.ms + get.ms, upload.processMs + download.processMs),
      ],
      notes: [
        `${sizeBytes / MIB} MiB, ${network.description.storage.code ?? 'three copies'}, six storage nodes; bar for both: 10 x`,
        'without the start of processes: our commands from reading the network file to their result, the calls of the official SDK',
        `upload: ${work}`,
        `download: ${workGet}`,
      ],
    }
  },
}

async function checkSame(a: string, b: string): Promise<void> {
  if (!(await sameFile(a, b))) throw fail('BENCH_FAILED', { said: 'other bytes came back' })
}
