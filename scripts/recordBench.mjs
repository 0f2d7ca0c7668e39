// Runs benches and commits their results to paper: `node scripts/recordBench.mjs [NAME...]` writes docs/bench/NAME.md. What is
// written there by hand, from the first `## ` heading on, stays.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'

const top = resolve(import.meta.dirname, '..')
const binary = join(top, 'packages/cli/bin/weightless.js')
const names =
  process.argv.length > 2
    ? process.argv.slice(2)
    : ['merkle', 'put', 'ingest', 'roundtrip', 'up', 'memory', 'follow', 'journal', 'rebuild', 'restart', 'erasure']
mkdirSync(join(top, 'docs/bench'), { recursive: true })

for (const name of names) {
  const run = spawnSync(process.execPath, [binary, 'bench', name, '--json'], {
    cwd: top,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 1 << 26,
  })
  if (run.status !== 0) {
    process.stderr.write(`bench ${name} failed: ${run.stdout}\n`)
    process.exitCode = 1
    continue
  }
  const { about, machine, columns, rows, notes = [] } = JSON.parse(run.stdout)
  const line = (cells) => `| ${cells.map(String).join(' | ')} |`
  const page = [
    `# ${name}: ${about}`,
    '',
    `\`npm run bench -- ${name}\`, ${new Date().toISOString().slice(0, 10)}. ${machine.cpu}, ${machine.cores} cores, ${(machine.memoryBytes / 2 ** 30).toFixed(0)} GiB, ${machine.system}; Node ${machine.node}; commit ${machine.commit}; load before the run ${machine.loadBefore}.`,
    '',
    line(columns),
    line(columns.map(() => '---')),
    ...rows.map(line),
    '',
    ...notes.map((note) => `* ${note}`),
    '',
  ]
  const path = join(top, 'docs/bench', `${name}.md`)
  const byHand = existsSync(path) ? (/^## [^]*/m.exec(readFileSync(path, 'utf8'))?.[0] ?? '') : ''
  writeFileSync(path, `${page.join('\n')}${byHand === '' ? '' : `\n${byHand}`}`)
  process.stderr.write(`docs/bench/${name}.md\n`)
}
