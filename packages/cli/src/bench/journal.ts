import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createAnvilEngine } from '@weightless/chain'
import type { Disk, DiskFile } from '@weightless/core'
import { nodeDisk, systemClock } from '@weightless/host'
import { privateKeySigner } from '@weightless/sdk'
import { fail } from '../errors.ts'
import { TEST_ACCOUNTS } from '../local/accounts.ts'
import { killAll, statusOf } from './killAll.ts'
import type { Lab, LabNetwork } from './lab.ts'
import { createRpcCall } from './rpcCall.ts'
import { percentile, type Scenario } from './scenario.ts'

const CHAIN_ID = 31337
/** Rounds with and without a journal take turns, so that both see the same machine. */
const ROUNDS = 6
const GWEI = 10n ** 9n

/** What journalling costs a block, and how long a start takes after everything was killed. */
export const journal: Scenario = {
  name: 'journal',
  about: 'cost of the block journal, and restart after kill -9 of everything',
  async run(lab) {
    const perRound = lab.quick ? 50 : 300
    const withJournal: number[] = []
    const without: number[] = []
    for (let round = 0; round < ROUNDS; round++) {
      withJournal.push(...(await blockTimes(join(lab.folder, `with-${round}`), nodeDisk(), perRound)))
      without.push(...(await blockTimes(join(lab.folder, `without-${round}`), forgetfulDisk(), perRound)))
    }
    const rows = [times('a block, journalled', withJournal), times('a block, journal switched off', without)]
    const addedMs = percentile(withJournal, 0.5) - percentile(without, 0.5)
    const notes = [
      `The journal adds ${addedMs.toFixed(2)} ms to the median transaction, from its sending to its answer (one transaction and one sync per block).`,
    ]
    for (const count of lab.quick ? [100] : [1_000, 10_000]) notes.push(await restart(lab, count))
    return { columns: ['what', 'blocks', 'p50 ms', 'p90 ms', 'p99 ms'], rows, notes }
  },
}

function times(what: string, values: readonly number[]): readonly string[] {
  return [what, String(values.length), ...[0.5, 0.9, 0.99].map((share) => percentile(values, share).toFixed(2))]
}

/** One transaction after the other, each in a block of its own. */
async function blockTimes(dataDir: string, disk: Disk, count: number): Promise<readonly number[]> {
  const accounts = TEST_ACCOUNTS.map(({ address }) => address)
  await using engine = createAnvilEngine(
    { dataDir, port: 0, chainId: CHAIN_ID, accounts },
    { clock: systemClock, disk },
  )
  await engine.start()
  return await sendMany(engine.rpcUrl, count)
}

async function sendMany(rpcUrl: string, count: number): Promise<readonly number[]> {
  const { address, privateKey } = TEST_ACCOUNTS[9]!
  const signer = privateKeySigner(privateKey)
  const call = createRpcCall(rpcUrl)
  const first = Number(await call('eth_getTransactionCount', [address, 'latest']))
  const measured: number[] = []
  for (let i = 0; i < count; i++) {
    const raw = await signer.signTransaction({
      type: 'eip1559',
      chainId: CHAIN_ID,
      nonce: first + i,
      gas: 21_000n,
      maxFeePerGas: 2n * GWEI,
      maxPriorityFeePerGas: GWEI,
      to: address,
      value: 1n,
    } as never)
    const started = performance.now()
    await call('eth_sendRawTransaction', [raw])
    measured.push(performance.now() - started)
  }
  return measured
}

/** A disk that takes what is written to the journal and keeps nothing of it. */
function forgetfulDisk(): Disk {
  const real = nodeDisk()
  return {
    ...real,
    async open(path, options) {
      const file = await real.open(path, options)
      if (!path.includes('/journal-')) return file
      const forgetful: DiskFile = { ...file, write: async () => undefined, sync: async () => undefined }
      return forgetful
    },
  }
}

/** Grows a network's chain by `count` blocks, kills all of it at once, and starts it again. */
async function restart(lab: Lab, count: number): Promise<string> {
  const network = await lab.startNetwork({ nodes: 1 })
  await sendMany(network.description.chain.rpcUrl, count)
  lab.note(`${count} blocks more: kill -9 of everything`)
  const before = await killAll(lab, network)
  const { ms } = await lab.ours(['up', '--detach', '--json'], network)
  const after = await statusOf(lab, network)
  if ((after.chain.headBlock ?? 0) < (before.chain.headBlock ?? 0))
    throw fail('BENCH_FAILED', { said: `block ${before.chain.headBlock} became ${after.chain.headBlock}` })
  const restored = await lastRestore(network)
  await network.stop()
  return `Restart after kill -9 of everything at block ${before.chain.headBlock}: ready after ${(ms / 1000).toFixed(1)} s (first start: ${(network.readyMs / 1000).toFixed(1)} s), of which the chain took ${(restored.ms / 1000).toFixed(2)} s: the snapshot of block ${restored.snapshot}, and ${restored.head - restored.snapshot} blocks made again.`
}

type Restored = { readonly snapshot: number; readonly head: number; readonly ms: number }

async function lastRestore(network: LabNetwork): Promise<Restored> {
  const lines = (await readFile(join(network.dir, 'logs', 'up.log'), 'utf8')).split('\n')
  const line = lines.findLast((text) => text.includes('chain.restored'))
  if (line === undefined) throw fail('BENCH_FAILED', { said: 'the log tells no chain.restored' })
  return JSON.parse(line) as Restored
}
