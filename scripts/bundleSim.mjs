// Bundles one program of sim/ into .cache: it runs from plain JavaScript on every Node that we support.
import { spawn } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { build } from 'esbuild'

const top = resolve(import.meta.dirname, '..')

/** @param {string} entry below sim/. @param {{ sourcemap?: boolean }} options @returns {Promise<string>} the bundle, inside the
 *  checkout: it finds packages with binaries. */
export async function bundleSim(entry, { sourcemap = false } = {}) {
  const outfile = join(top, '.cache', 'sim', `${dirname(entry)}-${basename(entry, '.ts')}-${process.pid}.mjs`)
  mkdirSync(dirname(outfile), { recursive: true })
  await build({
    entryPoints: [join(top, 'sim', entry)],
    outfile,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    conditions: ['source'],
    external: ['lmdb', '@foundry-rs/*', 'vitest', '@0gfoundation/*', '@0glabs/*', 'ethers'],
    banner: {
      js: "import { createRequire as makeRequire } from 'node:module'; const require = makeRequire(import.meta.url);",
    },
    sourcemap: sourcemap && 'linked',
    logLevel: 'warning',
  })
  // One for each run: a long one goes on with what it began with.
  process.once('exit', () => [outfile, `${outfile}.map`].forEach((file) => rmSync(file, { force: true })))
  return outfile
}

/** Runs a program of sim/ that prints one JSON document, and prints it on. Ends this process with the program's code when there
 *  is none. @returns {Promise<{ result: any, code: number }>} */
export async function runSim(entry, args) {
  const bundle = await bundleSim(entry)
  const child = spawn(process.execPath, [bundle, ...args], { cwd: top, stdio: ['ignore', 'pipe', 'inherit'] })
  let out = ''
  child.stdout.on('data', (chunk) => (out += chunk))
  const code = await new Promise((done) => child.once('close', done))
  if (out === '') process.exit(code ?? 1)
  const result = JSON.parse(out)
  process.stdout.write(`${JSON.stringify(result, null, 2)}\n`)
  return { result, code }
}
