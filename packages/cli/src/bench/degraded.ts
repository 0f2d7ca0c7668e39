import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { StoredResult } from '@weightless/sdk'
import { fail } from '../errors.ts'
import { readNetworkFile } from '../networkFile.ts'
import { sameFile } from './sameFile.ts'
import type { Lab, LabNetwork } from './lab.ts'
import { cpuByRole } from './limit.ts'
import { medianOf, MIB, percentile, rate, type Scenario } from './scenario.ts'
import { holdersBySlot, pidsOf } from './slots.ts'

const RANGE_BYTES: number = MIB
const STEP_MS = 50
const BACK_MS_MAX = 60_000

const STATES = ['healthy', 'two dead', 'two hung'] as const
type State = (typeof STATES)[number]
type Read = { readonly ms: number; readonly clientCpuSeconds: number; readonly serverCpuSeconds: number }
type Reads = { readonly whole: Read[]; readonly ranges: Read[] }

/** The two holders are those of data slots, so that half of the data has to be computed. Dead ones are killed and refuse
 *  connections, hung ones are stopped and take connections without ever answering. */
export const degraded: Scenario = {
  name: 'degraded',
  about: 'reads of a 4+2 object with two data holders dead or hung, beside the healthy read',
  async run(lab) {
    const sizeBytes = (lab.quick ? 16 : 256) * MIB
    const roundCount = lab.quick ? 1 : 3
    const rangeCount = lab.quick ? 3 : 15
    const network = await lab.startNetwork()
    const file = await lab.makeFile('object', sizeBytes)
    const put = JSON.parse((await lab.ours(['put', file, '--code', '4+2', '--json'], network)).out) as StoredResult
    const holders = await holdersBySlot(network, put)
    const victims = [holders.get(0)!.id, holders.get(1)!.id]
    const object = { root: put.root, sizeBytes, file }
    await readWhole(lab, network, object)
    const reads = new Map<State, Reads>(STATES.map((state) => [state, { whole: [], ranges: [] }]))
    for (let round = 0; round < roundCount; round++) {
      for (const state of STATES) {
        lab.note(`${state}, round ${round + 1} of ${roundCount}`)
        await using _ = await bring(lab, network, state, victims)
        const { whole, ranges } = reads.get(state)!
        whole.push(await readWhole(lab, network, object))
        for (let i = 0; i < rangeCount; i++) {
          // Spread over the object, another place in each state's turn of the next round.
          const start = Math.floor(((i + (round + 0.5) / roundCount) / rangeCount) * (sizeBytes - RANGE_BYTES))
          ranges.push(await readRange(lab, network, { ...object, start }))
        }
      }
    }
    await network.stop()
    const healthy = reads.get('healthy')!
    return {
      columns: ['read', 'holders', 'median, ms', 'most, ms', 'rate', 'ms / healthy', 'client, CPU s', 'servers, CPU s'],
      rows: (['whole', 'ranges'] as const).flatMap((kind) =>
        STATES.map((state) => {
          const own = reads.get(state)![kind]
          const times = own.map(({ ms }) => ms)
          const readBytes = kind === 'whole' ? sizeBytes : RANGE_BYTES
          return [
            kind === 'whole' ? `${sizeBytes / MIB} MiB` : '1 MiB of it',
            state,
            medianOf(times).toFixed(0),
            percentile(times, 1).toFixed(0),
            rate(readBytes, medianOf(times)),
            (medianOf(times) / medianOf(healthy[kind].map(({ ms }) => ms))).toFixed(2),
            medianOf(own.map(({ clientCpuSeconds }) => clientCpuSeconds)).toFixed(2),
            kind === 'whole' ? medianOf(own.map(({ serverCpuSeconds }) => serverCpuSeconds)).toFixed(2) : '',
          ]
        }),
      ),
      notes: [
        `4+2 over six nodes; the two are the holders of data slots 0 and 1; ${roundCount} rounds in turns, ${rangeCount} ranges each; every whole read was compared with the file`,
        'each read is a command of its own, which knows nothing of who is away; ms without the start of the process, its file flushed',
        'dead: kill -9, connections are refused; hung: SIGSTOP, connections are taken and nothing is answered',
      ],
    }
  },
}

/** Disposing brings them back. */
async function bring(
  lab: Lab,
  network: LabNetwork,
  state: State,
  victims: readonly string[],
): Promise<AsyncDisposable> {
  if (state === 'healthy') return { [Symbol.asyncDispose]: async () => undefined }
  const pids = await pidsOf(network, victims)
  for (const pid of pids) process.kill(pid, state === 'two dead' ? 'SIGKILL' : 'SIGSTOP')
  if (state === 'two hung')
    return { [Symbol.asyncDispose]: async () => pids.forEach((pid) => process.kill(pid, 'SIGCONT')) }
  await until(lab, 'the dead are noticed', async () => (await pidsOf(network, victims)).length === 0)
  return {
    [Symbol.asyncDispose]: async () => {
      for (const id of victims) await lab.ours(['node', 'start', id, '--json'], network)
      await until(lab, 'the dead are back', () => areReady(network, victims))
    },
  }
}

async function areReady(network: LabNetwork, ids: readonly string[]): Promise<boolean> {
  const { storage } = await readNetworkFile(network.dir)
  const urls = storage.nodes.filter(({ id }) => ids.includes(id)).map(({ url }) => url)
  const answers = await Promise.all(urls.map((url) => fetch(`${url}/health`).catch(() => undefined)))
  return answers.every((answer) => answer?.ok === true)
}

async function until(lab: Lab, what: string, isSo: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + BACK_MS_MAX
  while (!(await isSo())) {
    if (performance.now() > deadline) throw fail('BENCH_FAILED', { reason: 'waited in vain', for: what })
    await sleep(STEP_MS, undefined, { signal: lab.signal })
  }
}

type Stored = { readonly root: string; readonly sizeBytes: number; readonly file: string }

async function readWhole(lab: Lab, network: LabNetwork, { root, file }: Stored): Promise<Read> {
  const copy = join(lab.folder, 'copy')
  const before = await network.usage()
  const get = await lab.ours(['get', root, '-o', copy, '--json'], network)
  const taken = cpuByRole(before, await network.usage())
  if (!(await sameFile(file, copy))) throw fail('BENCH_FAILED', { said: 'other bytes came back' })
  await rm(copy)
  return {
    ms: (JSON.parse(get.out) as { ms: number }).ms,
    clientCpuSeconds: get.cpuSeconds,
    serverCpuSeconds: [...taken.values()].reduce((sum, seconds) => sum + seconds, 0),
  }
}

async function readRange(
  lab: Lab,
  network: LabNetwork,
  { root, start }: Stored & { readonly start: number },
): Promise<Read> {
  const copy = join(lab.folder, 'range')
  const range = `${start}-${start + RANGE_BYTES - 1}`
  const get = await lab.ours(['get', root, '--range', range, '-o', copy, '--json'], network)
  await rm(copy)
  return { ms: (JSON.parse(get.out) as { ms: number }).ms, clientCpuSeconds: get.cpuSeconds, serverCpuSeconds: 0 }
}
