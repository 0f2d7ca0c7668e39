// The simulator: bundles it like the command line and runs it (docs/sim.md).
//   node scripts/sim.mjs --seeds 100
import { spawnSync } from 'node:child_process'
import { join, resolve } from 'node:path'
import { build } from 'esbuild'

const top = resolve(import.meta.dirname, '..')
const outfile = join(top, '.cache', 'sim', 'sim.mjs')
await build({
  entryPoints: [join(top, 'sim/main.ts')],
  outfile,
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  conditions: ['source'],
  external: ['lmdb', '@foundry-rs/*'],
  banner: {
    js: "import { createRequire as makeRequire } from 'node:module'; const require = makeRequire(import.meta.url);",
  },
  sourcemap: 'linked',
  logLevel: 'warning',
})
// Most of what a world makes is gone at once: with room for it, the collector takes a tenth less of the time.
const YOUNG = '--max-semi-space-size=64'
const done = spawnSync(process.execPath, ['--enable-source-maps', YOUNG, outfile, ...process.argv.slice(2)], {
  stdio: 'inherit',
})
process.exit(done.status ?? 1)
