// The simulator: bundles it like the command line and runs it (docs/sim.md).
//   node scripts/sim.mjs --seeds 100
import { spawn } from 'node:child_process'
import { bundleSim } from './bundleSim.mjs'
import { WORLD_FLAGS } from './worldFlags.mjs'

const bundle = await bundleSim('main.ts', { sourcemap: true })
// The channel is what tells the child that this process has ended.
const child = spawn(process.execPath, ['--enable-source-maps', ...WORLD_FLAGS, bundle, ...process.argv.slice(2)], {
  stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
})
child.once('exit', (code) => process.exit(code ?? 1))
