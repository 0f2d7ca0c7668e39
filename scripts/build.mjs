// Bundles the command line into packages/cli/dist: roles start from plain JavaScript, not through a TypeScript loader (DESIGN D4).
// Prints one line, on stderr. Safe beside running processes: files appear by rename, the entry last, and chunks that a
// running process may still import lazily stay for a day.
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { directImports } from './directImports.mjs'

const top = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const dist = join(top, 'packages', 'cli', 'dist')
const started = performance.now()
/** A process that imports its commands lazily needs its chunks for as long as it lives. */
const STALE_CHUNK_AGE_MS = 24 * 3600 * 1000

const { outputFiles } = await build({
  entryPoints: { weightless: join(top, 'packages/cli/src/main.ts') },
  outdir: dist,
  outExtension: { '.js': '.mjs' },
  chunkNames: 'chunk-[hash]',
  bundle: true,
  // A role process loads the chunks of its role and nothing else.
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  conditions: ['source'],
  plugins: [directImports(join(top, 'packages'))],
  // lmdb and anvil find their prebuilt binaries next to their own files.
  external: ['lmdb', '@foundry-rs/*'],
  // Bundled CommonJS packages still call require() for what Node brings along.
  banner: {
    js: "import { createRequire as makeRequire } from 'node:module'; const require = makeRequire(import.meta.url);",
  },
  sourcemap: 'linked',
  sourcesContent: false,
  legalComments: 'none',
  write: false,
  logLevel: 'warning',
})

mkdirSync(dist, { recursive: true })
const isEntry = (path) => basename(path) === 'weightless.mjs'
for (const file of [...outputFiles].sort((a, b) => Number(isEntry(a.path)) - Number(isEntry(b.path)))) {
  if (!isEntry(file.path) && isSame(file)) continue
  const temporary = `${file.path}.${process.pid}.tmp`
  writeFileSync(temporary, file.contents)
  renameSync(temporary, file.path)
}
const current = new Set(outputFiles.map((file) => basename(file.path)))
for (const name of readdirSync(dist).filter((name) => name.startsWith('chunk-') && !current.has(name))) {
  const age = Date.now() - (statSync(join(dist, name), { throwIfNoEntry: false })?.mtimeMs ?? 0)
  if (age > STALE_CHUNK_AGE_MS) rmSync(join(dist, name), { force: true })
}

const kilobytes =
  outputFiles.filter((file) => file.path.endsWith('.mjs')).reduce((sum, file) => sum + file.contents.length, 0) / 1024
process.stderr.write(
  `built packages/cli/dist: ${kilobytes.toFixed(0)} KB in ${(performance.now() - started).toFixed(0)} ms\n`,
)

function isSame(file) {
  try {
    return readFileSync(file.path).equals(file.contents)
  } catch {
    return false
  }
}
