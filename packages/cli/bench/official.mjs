// The peer of the benchmarks: the official SDK exactly as published, in a process of its own. Prints one JSON document.
//   node official.mjs merkle FILE | upload FILE | download ROOT FILE
// Addresses come in WEIGHTLESS_BENCH_RPC and WEIGHTLESS_BENCH_INDEXER, the key in WEIGHTLESS_BENCH_KEY: never as arguments.
import { performance } from 'node:perf_hooks'

const say = process.stdout.write.bind(process.stdout)
// The SDK logs to stdout; writing that away would count as its work, so it goes nowhere.
console.log = () => undefined

const { Indexer, ZgFile } = await import('@0gfoundation/0g-ts-sdk')
const { ethers } = await import('ethers')
const [command, ...words] = process.argv.slice(2)
const { WEIGHTLESS_BENCH_RPC: rpc, WEIGHTLESS_BENCH_INDEXER: indexerUrl, WEIGHTLESS_BENCH_KEY: key } = process.env

const must = ([value, error]) => {
  if (error !== null && error !== undefined) throw error
  return value
}

const work = {
  async merkle(path) {
    const file = await ZgFile.fromFilePath(path)
    const tree = must(await file.merkleTree())
    await file.close()
    return { root: tree.rootHash() }
  },
  async upload(path) {
    const file = await ZgFile.fromFilePath(path)
    const signer = new ethers.Wallet(key, new ethers.JsonRpcProvider(rpc))
    const result = must(await new Indexer(indexerUrl).upload(file, rpc, signer))
    await file.close()
    return { root: result.rootHash ?? result.rootHashes?.[0] }
  },
  async download(root, path) {
    const error = await new Indexer(indexerUrl).download(root, path, true)
    if (error !== null && error !== undefined) throw error
    return { root }
  },
}

const cpu = process.cpuUsage()
const started = performance.now()
const result = await work[command](...words)
const ms = performance.now() - started
const { user, system } = process.cpuUsage(cpu)
say(
  `${JSON.stringify({ ...result, ms, cpuSeconds: (user + system) / 1e6, rssBytesMax: process.resourceUsage().maxRSS * 1024 })}\n`,
)
process.exit(0)
