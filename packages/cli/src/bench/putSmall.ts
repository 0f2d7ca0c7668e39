import { randomBytes } from 'node:crypto'
import { privateKeySigner, upload } from '@weightless/sdk'
import { openClient } from '../networkClient.ts'
import { percentile, type Scenario } from './scenario.ts'

const SIZE_BYTES = 50_000

/** One object after the other, each until three holders have signed: transaction, block, three nodes and their disks included. */
export const putSmall: Scenario = {
  name: 'put',
  about: 'p50 and p99 of a 50 KB put to durable, one after the other, beside the official SDK',
  async run(lab) {
    const count = lab.quick ? 20 : 300
    const officialCount = lab.quick ? 1 : 5
    const network = await lab.startNetwork()
    await using session = openClient(network.description, {
      signer: privateKeySigner(network.description.accounts[1]!.privateKey),
    })
    const times: number[] = []
    const warmUp = 20
    for (let i = 0; i < count + warmUp; i++) {
      const started = performance.now()
      await upload(session.client, new Uint8Array(randomBytes(SIZE_BYTES)), { until: 'durable', signal: lab.signal })
      if (i >= warmUp) times.push(performance.now() - started)
    }
    const official: number[] = []
    for (let i = 0; i < officialCount; i++) {
      const file = await lab.makeFile(`small-${i}`, SIZE_BYTES)
      official.push((await lab.official(['upload', file], network)).ms)
    }
    await network.stop()
    const row = (who: string, values: readonly number[]): string[] => [
      who,
      String(values.length),
      ...[0.5, 0.9, 0.99].map((share) => percentile(values, share).toFixed(1)),
      Math.max(...values).toFixed(1),
    ]
    return {
      columns: ['who', 'puts', 'p50 ms', 'p90 ms', 'p99 ms', 'max ms'],
      rows: [row('ours, to durable', times), row('official SDK 1.2.8, to finalized', official)],
      notes: [`${SIZE_BYTES} bytes each; bars: p50 50 ms, p99 250 ms`],
    }
  },
}
