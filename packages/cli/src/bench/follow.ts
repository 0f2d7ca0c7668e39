import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createAnvilEngine, deployContracts } from '@weightless/chain'
import { addressOfPrivateKey, layoutOf, nodeHeights, type Address, type Submission } from '@weightless/core'
import { freePorts, systemClock, systemNet, systemRandom } from '@weightless/host'
import { createRpc, createTransactor, privateKeySigner, readMarket, readPrice, submitEntries } from '@weightless/sdk'
import { fail } from '../errors.ts'
import { toToml } from '../local/roleConfig.ts'
import { ownMemoryBytes, processUsage } from '../processUsage.ts'
import type { Scenario } from './scenario.ts'

/** An ordinary small object. */
const SIZE_BYTES = 50_000
/** As many as the contract's gas tests promise for one transaction. */
const BATCH = 64
/** Transactions on their way at once; all that wait share a block. */
const LANES = 6
const POLL_MS = 10
const CHAIN_ID = 31337
const DEPLOYER = new Uint8Array(32).fill(0x5a)
const KEY = new Uint8Array(32).fill(0x5b)

/** A chain with many entries, and a storage node that starts from nothing: how fast it reads the log. */
export const follow: Scenario = {
  name: 'follow',
  about: 'entries per second of a follower that starts from nothing',
  async run(lab) {
    const count = lab.quick ? 1_000 : 100_000
    const dataDir = join(lab.folder, 'chain')
    const signer = privateKeySigner(KEY)
    const engine = createAnvilEngine(
      { dataDir, port: 0, chainId: CHAIN_ID, accounts: [addressOfPrivateKey(DEPLOYER), addressOfPrivateKey(KEY)] },
      { clock: systemClock },
    )
    await engine.start({ signal: lab.signal })
    const options = { signal: lab.signal }
    const deps = { net: systemNet, clock: systemClock, random: systemRandom }
    const rpc = createRpc(engine.rpcUrl, deps)
    const { flow } = await deployContracts(rpc, { key: DEPLOYER }, options)
    const transactor = createTransactor({ chainId: CHAIN_ID, signer }, { rpc, ...deps })
    const priceWeiPerSector = await readPrice(rpc, await readMarket(rpc, flow as Address, options), options)
    let left = count
    const lane = async (): Promise<void> => {
      while (left > 0) {
        const submissions = Array.from({ length: Math.min(BATCH, left) }, randomSubmission)
        left -= submissions.length
        await submitEntries({ flow: flow as Address, submissions, priceWeiPerSector }, transactor, options)
        if (Math.floor(left / 10_000) !== Math.floor((left + BATCH) / 10_000)) lab.note(`${left} entries to submit`)
      }
    }
    await Promise.all(Array.from({ length: LANES }, lane))
    const before = { chain: (await processUsage(engine.pid!))!.cpuSeconds, own: process.cpuUsage() }
    const [port] = await freePorts(1)
    const config = join(lab.folder, 'follower.toml')
    await writeFile(
      config,
      toToml({
        chain: { rpc_url: engine.rpcUrl, chain_id: CHAIN_ID, flow, start_block: 0 },
        storage: { listen: `127.0.0.1:${port}`, data_dir: join(lab.folder, 'follower'), membership: 'solo' },
      }),
    )
    const child = spawn(process.execPath, [lab.entry, 'node', 'run', '--config', config], { stdio: 'ignore' })
    try {
      const first = await untilSeq(port!, 0, lab.signal)
      const last = await untilSeq(port!, count, lab.signal)
      const usage = (await processUsage(child.pid!))!
      const ownBytes = await ownMemoryBytes(child.pid!)
      const seconds = (last.atMs - first.atMs) / 1000
      const entries = last.nextSeq - first.nextSeq
      const chainSeconds = (await processUsage(engine.pid!))!.cpuSeconds - before.chain
      const own = process.cpuUsage(before.own)
      const portSeconds = (own.user + own.system) / 1e6
      const perSecond = (value: number): string => (entries / value).toFixed(0)
      return {
        columns: ['entries', 'seconds', 'entries/s', 'CPU s of the node', 'entries per CPU s', 'RSS MiB', 'own MiB'],
        rows: [
          [
            entries,
            seconds.toFixed(2),
            perSecond(seconds),
            usage.cpuSeconds.toFixed(2),
            perSecond(usage.cpuSeconds),
            (usage.rssBytes / 1024 ** 2).toFixed(0),
            ownBytes === undefined ? '' : (ownBytes / 1024 ** 2).toFixed(0),
          ],
        ],
        notes: [
          'own: memory of the process without pages of files; the index is mapped, and its pages go when the system needs them',
          `entries of ${SIZE_BYTES} bytes by batchSubmit of ${BATCH} on the chain that \`up\` runs, read by \`node run\` in pages of eth_getLogs`,
          `meanwhile anvil took ${chainSeconds.toFixed(2)} CPU s and the public port with this bench ${portSeconds.toFixed(2)}`,
        ],
      }
    } finally {
      child.kill('SIGTERM')
      await engine.stop()
    }
  },
}

/** The log does not know whether anybody has bytes for a root, so its roots may be random. */
function randomSubmission(): Submission {
  const { paddedChunkCount } = layoutOf(SIZE_BYTES)
  return {
    sizeBytes: SIZE_BYTES,
    tags: new Uint8Array(0),
    nodes: nodeHeights(paddedChunkCount).map((height) => ({ height, root: new Uint8Array(randomBytes(32)) })),
  }
}

async function untilSeq(
  port: number,
  seq: number,
  signal: AbortSignal,
): Promise<{ readonly nextSeq: number; readonly atMs: number }> {
  const deadline = performance.now() + 240_000
  while (performance.now() < deadline) {
    signal.throwIfAborted()
    try {
      const response = await fetch(`http://127.0.0.1:${port}/v1/status`, { signal })
      const { nextSeq } = (await response.json()) as { readonly nextSeq: number }
      if (nextSeq >= seq) return { nextSeq, atMs: performance.now() }
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof TypeError)) throw error
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
  throw fail('BENCH_FAILED', { said: `the follower did not reach entry ${seq}` })
}
