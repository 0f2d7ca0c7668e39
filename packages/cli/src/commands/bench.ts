import type { Context } from '../context.ts'
import { fail } from '../errors.ts'
import { table } from '../print.ts'
import type { Scenario } from '../bench/scenario.ts'

/** Each is loaded when asked for. */
const SCENARIOS: Readonly<Record<string, { readonly about: string; load(): Promise<Scenario> }>> = {
  merkle: {
    about: 'Merkle root of a file, one and two threads',
    load: async () => (await import('../bench/merkle.ts')).merkle,
  },
  erasure: {
    about: 'Reed–Solomon and fingerprints, beside ISA-L',
    load: async () => (await import('../bench/erasure.ts')).erasure,
  },
  roundtrip: {
    about: 'upload and download of 256 MiB',
    load: async () => (await import('../bench/roundtrip.ts')).roundtrip,
  },
  ingest: {
    about: 'CPU per 100 MB from the official SDK',
    load: async () => (await import('../bench/ingest.ts')).ingest,
  },
  memory: { about: 'peak memory against file size', load: async () => (await import('../bench/memory.ts')).memory },
  up: {
    about: 'time to ready and memory of the network',
    load: async () => (await import('../bench/upTime.ts')).upTime,
  },
  rebuild: {
    about: 'a lost copy and lost shards brought back',
    load: async () => (await import('../bench/rebuild.ts')).rebuild,
  },
  coded: {
    about: 'upload under 4+2 and 10+4 beside three copies, and the certificate',
    load: async () => (await import('../bench/coded.ts')).coded,
  },
  degraded: {
    about: 'reads of a coded object with m holders dead or hung',
    load: async () => (await import('../bench/degraded.ts')).degraded,
  },
  durability: {
    about: 'modelled annual loss of codes beside three copies',
    load: async () => (await import('../bench/durability.ts')).durability,
  },
  churn: {
    about: 'bytes that a change of the membership moves',
    load: async () => (await import('../bench/churn.ts')).churn,
  },
  put: {
    about: 'latency of a 50 KB put to durable',
    load: async () => (await import('../bench/putSmall.ts')).putSmall,
  },
  journal: {
    about: 'cost of the block journal, and restart after kill -9',
    load: async () => (await import('../bench/journal.ts')).journal,
  },
  restart: {
    about: 'start after kill -9 with 10 GB stored',
    load: async () => (await import('../bench/restart.ts')).restart,
  },
  follow: {
    about: 'entries per second of a follower that starts from nothing',
    load: async () => (await import('../bench/follow.ts')).follow,
  },
}

export async function benchCommand(
  name: string | undefined,
  options: { readonly quick: boolean },
  context: Context,
): Promise<void> {
  const { printer, signal, io } = context
  if (name === undefined) {
    const list = Object.entries(SCENARIOS).map(([key, { about }]) => ({ name: key, about }))
    printer.result({ scenarios: list }, () => table(list.map((one) => [one.name, one.about])))
    return
  }
  const found = Object.hasOwn(SCENARIOS, name) ? SCENARIOS[name] : undefined
  if (found === undefined)
    throw fail('USAGE', {
      reason: 'no such scenario',
      name: name.slice(0, 64),
      known: Object.keys(SCENARIOS).join(', '),
    })
  const { describeMachine, withLab } = await import('../bench/lab.ts')
  const scenario = await found.load()
  const machine = await describeMachine(io.entry)
  printer.note(`${scenario.name}: ${scenario.about}`)
  const outcome = await withLab(
    { quick: options.quick, entry: io.entry, signal, note: (line) => printer.note(`  ${line}`) },
    (lab) => scenario.run(lab),
  )
  printer.result({ name: scenario.name, about: scenario.about, quick: options.quick, machine, ...outcome }, () =>
    [
      table([outcome.columns, ...outcome.rows.map((row) => row.map(String))]),
      '',
      ...outcome.notes,
      `${machine.cpu}, ${machine.cores} cores, ${machine.system}, Node ${machine.node}, load ${machine.loadBefore} before, commit ${machine.commit}${options.quick ? ', QUICK: sizes too small to mean anything' : ''}`,
    ].join('\n'),
  )
}
