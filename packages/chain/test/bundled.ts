import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { build } from 'esbuild'
import { account } from './localChain.ts'

/** Inside the repository, so that packages are found from there; ignored by git. */
const CACHE = join(import.meta.dirname, '../../../.cache/chain-tests')

let bundle: Promise<string> | undefined

/** Runs an engine on `directory` in a process of its own, for tests that kill that process. */
export async function startEngineProcess(
  directory: string,
): Promise<{ parent: ChildProcess; rpcUrl: string; wsUrl: string; pid: number }> {
  const engine = spawnEngine(await (bundle ??= bundleEngine()), directory)
  return { parent: engine.parent, ...(await engine.ready) }
}

export type EngineProcess = {
  readonly parent: ChildProcess
  /** Rejects when it ends before it is ready. */
  readonly ready: Promise<{ rpcUrl: string; wsUrl: string; pid: number }>
}

/** The same for those who do not wait until it is ready. */
export async function spawnEngineProcess(directory: string, port: number): Promise<EngineProcess> {
  return spawnEngine(await (bundle ??= bundleEngine()), directory, port)
}

function spawnEngine(file: string, directory: string, port = 0): EngineProcess {
  const accounts = Array.from({ length: 10 }, (_, i) => account(i).address)
  const parent = spawn(process.execPath, [file, directory, JSON.stringify(accounts), String(port)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let said = ''
  parent.stderr.on('data', (text: Buffer) => (said = (said + text.toString()).slice(-4000)))
  const lines = createInterface({ input: parent.stdout })
  const ready = Promise.race([
    once(lines, 'line').then(([line]) => JSON.parse(line as string) as { rpcUrl: string; wsUrl: string; pid: number }),
    once(parent, 'exit').then(([code, signal]): never => {
      throw new Error(`the engine's process ended (${code ?? signal}): ${said}`)
    }),
  ])
  ready.catch(() => undefined)
  return { parent, ready }
}

async function bundleEngine(): Promise<string> {
  await mkdir(CACHE, { recursive: true })
  const name = `engine-${process.pid}-${Math.random().toString(36).slice(2)}`
  const source = join(CACHE, `${name}.ts`)
  await writeFile(
    source,
    `import { createAnvilEngine } from '../../packages/chain/src/anvil/anvilEngine.ts'
import { systemClock } from '../../packages/host/src/clock.ts'
const engine = createAnvilEngine({ dataDir: process.argv[2]!, port: Number(process.argv[4]), chainId: 31337, accounts: JSON.parse(process.argv[3]!) }, { clock: systemClock })
process.on('SIGTERM', () => void engine.stop().then(() => process.exit(0)))
await engine.start()
console.log(JSON.stringify({ rpcUrl: engine.rpcUrl, wsUrl: engine.wsUrl, pid: engine.pid }))
`,
  )
  const outfile = join(CACHE, `${name}.mjs`)
  await build({
    entryPoints: [source],
    bundle: true,
    platform: 'node',
    format: 'esm',
    outfile,
    conditions: ['source'],
    logLevel: 'silent',
    external: ['lmdb', 'pino', 'prom-client'],
    banner: {
      js: "import { createRequire as makeRequire } from 'node:module'; const require = makeRequire(import.meta.url);",
    },
  })
  return outfile
}
