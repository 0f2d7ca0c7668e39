#!/usr/bin/env node
// Starts the bundled command line. In a source checkout the bundle is made again when a source is newer than it, so that
// `npm ci --ignore-scripts` and a fresh `git pull` work alike.
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const [major, minor] = process.versions.node.split('.').map(Number)
if (major < 20 || (major === 20 && minor < 19)) {
  process.stderr.write(`weightless needs Node 20.19 or newer, this is ${process.version}. Next: install Node 24.\n`)
  process.exit(1)
}

const room = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const top = resolve(room, '..', '..')
const bundle = join(room, 'dist', 'weightless.mjs')
const build = join(top, 'scripts', 'build.mjs')

if (existsSync(build) && isStale()) {
  try {
    execFileSync(process.execPath, [build], { stdio: ['ignore', 'ignore', 'inherit'] })
  } catch {
    process.stderr.write('weightless could not be built from its sources. Next: run `npm ci`, then try again.\n')
    process.exit(1)
  }
}
await import(pathToFileURL(bundle).href)

/** Compares times only: a few hundred stat calls, some milliseconds. A directory's own time tells of removed files. */
function isStale() {
  const built = statSync(bundle, { throwIfNoEntry: false })?.mtimeMs
  if (built === undefined) return true
  const rooms = join(top, 'packages')
  const roots = readdirSync(rooms).map((name) => join(rooms, name, 'src'))
  return [build, join(top, 'package-lock.json'), ...roots].some((path) => isNewer(path, built))
}

function isNewer(path, builtMs) {
  const stat = statSync(path, { throwIfNoEntry: false })
  if (stat === undefined) return false
  if (stat.mtimeMs > builtMs && !path.endsWith('.test.ts')) return true
  return stat.isDirectory() && readdirSync(path).some((name) => isNewer(join(path, name), builtMs))
}
