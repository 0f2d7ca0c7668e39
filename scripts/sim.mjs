// The simulator: bundles it like the command line and runs it (docs/sim.md).
//   node scripts/sim.mjs --seeds 100
import { spawn } from 'node:child_process'
import { bundleSim } from './bundleSim.mjs'

const bundle = await bundleSim('main.ts', { sourcemap: true })
// Most of what a world makes is gone at once: with room for it, the collector takes a tenth less of the time.
const flags = ['--enable-source-maps', '--max-semi-space-size=64']
// The channel is what tells the child that this process has ended.
const child = spawn(process.execPath, [...flags, bundle, ...process.argv.slice(2)], {
  stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
})
child.once('exit', (code) => process.exit(code ?? 1))
