import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { build } from 'esbuild'

/** Inside the repository, so that packages are found from there; ignored by git. */
const CACHE = join(import.meta.dirname, '../../../.cache/chain-tests')

/** Runs an engine on `directory` in a process of its own, for tests that kill that process. Answers its lines of JSON. */
export async function startEngineProcess(
  directory: string,
): Promise<{ parent: ChildProcess; rpcUrl: string; pid: number }> {
  await mkdir(CACHE, { recursive: true })
  const name = `engine-${process.pid}`
  const source = join(CACHE, `${name}.ts`)
  await writeFile(
    source,
    `import { createAnvilEngine } from '../../packages/chain/src/anvil/anvilEngine.ts'
import { systemClock } from '../../packages/host/src/clock.ts'
const engine = createAnvilEngine({ dataDir: process.argv[2]!, port: 0, chainId: 31337, accounts: JSON.parse(process.argv[3]!) }, { clock: systemClock })
process.on('SIGTERM', () => void engine.stop().then(() => process.exit(0)))
await engine.start()
console.log(JSON.stringify({ rpcUrl: engine.rpcUrl, pid: engine.pid }))
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
  const { account } = await import('./localChain.ts')
  const parent = spawn(process.execPath, [outfile, directory, JSON.stringify([account(1).address])], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [line] = (await once(createInterface({ input: parent.stdout }), 'line')) as [string]
  return { parent, ...(JSON.parse(line) as { rpcUrl: string; pid: number }) }
}
