import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fail } from '../errors.ts'
import type { Lab, LabNetwork, Measured } from './lab.ts'
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
    const rounds: OurRound[] = []
    const ourRound = async (): Promise<void> => {
      lab.note(`our upload and download, ${rounds.length + 1} of 3`)
      rounds.push(await runOurs(lab, network, sizeBytes))
    }
    const theirFile = await lab.makeFile('theirs', sizeBytes)
    await ourRound()
    lab.note('official upload')
    const upload = await lab.official(['upload', theirFile], network)
    await ourRound()
    lab.note('official download')
    const download = await lab.official(['download', upload.root, join(lab.folder, 'theirs.copy')], network)
    await checkSame(theirFile, join(lab.folder, 'theirs.copy'))
    await ourRound()
    await network.stop()
    const middle = (of: (round: OurRound) => number): number => rounds.map(of).sort((x, y) => x - y)[1]!
    const [putMs, getMs] = [middle((round) => round.putMs), middle((round) => round.getMs)]
    const put = { ms: middle((round) => round.put.ms) }
    const get = { ms: middle((round) => round.get.ms) }
    const last = rounds[2]!
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
        `ours is the middle of three, before, between and after the official SDK, which goes once: ${rounds.map(({ put: { ms }, get: one }) => `${ms.toFixed(0)} and ${one.ms.toFixed(0)}`).join(', ')} ms, whole processes`,
        `upload, the last: ${last.putWork}`,
        `download, the last: ${last.getWork}`,
      ],
    }
  },
}

type OurRound = {
  /** Without the start of the process. */
  readonly putMs: number
  readonly getMs: number
  readonly put: Measured
  readonly get: Measured
  readonly putWork: string
  readonly getWork: string
}

async function runOurs(lab: Lab, network: LabNetwork, sizeBytes: number): Promise<OurRound> {
  const file = await lab.makeFile('ours', sizeBytes)
  const copy = join(lab.folder, 'ours.copy')
  await rm(copy, { force: true })
  const before = await network.usage()
  const put = await lab.ours(['put', file, '--json'], network)
  const putWork = describeWork(before, await network.usage(), put)
  const { root, ms: putMs } = JSON.parse(put.out) as { root: string; ms: number }
  const beforeGet = await network.usage()
  const get = await lab.ours(['get', root, '-o', copy, '--json'], network)
  const getWork = describeWork(beforeGet, await network.usage(), get)
  const { ms: getMs } = JSON.parse(get.out) as { ms: number }
  await checkSame(file, copy)
  return { putMs, getMs, put, get, putWork, getWork }
}

async function checkSame(a: string, b: string): Promise<void> {
  if (!(await sameFile(a, b))) throw fail('BENCH_FAILED', { said: 'other bytes came back' })
}
