// Compiles assembly/*.ts into src/generated/*.wasm.ts as targets.json says, and writes each binary's sha256 there.
// With --check it compiles, changes nothing, and exits 1 if what is committed is not what the sources give.
import { createHash } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { main } from 'assemblyscript/asc'

const room = join(dirname(fileURLToPath(import.meta.url)), '..')
const targetsFile = join(room, 'targets.json')

/** Compiles one target. Returns its bytes; throws with the compiler's words when it does not compile. */
async function compile({ source, flags }) {
  const files = new Map()
  const said = []
  const { error } = await main([source, '--outFile', 'kernel.wasm', '--baseDir', room, ...flags], {
    stdout: { write: (text) => said.push(text) },
    stderr: { write: (text) => said.push(text) },
    writeFile: (name, contents) => files.set(name, contents),
  })
  if (error) throw new Error(`${source} does not compile:\n${said.join('')}`, { cause: error })
  return files.get('kernel.wasm')
}

/** The committed text of a binary. */
function moduleText(name, { source }, bytes) {
  const base64 = Buffer.from(bytes).toString('base64')
  return [
    `// Generated from ${source} by \`npm run kernels:build\`: do not edit. Checked by \`npm run kernels:check\`.`,
    `export const ${name}Wasm: string =`,
    `  '${base64}'`,
    '',
  ].join('\n')
}

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex')

/** What differs between the sources and what is committed: one sentence each. */
function differences(name, target, bytes, committed) {
  const found = []
  if (bytes.length > target.maxBytes)
    found.push(`${name}: ${bytes.length} bytes are over its budget of ${target.maxBytes}`)
  if (sha256(bytes) !== target.sha256)
    found.push(`${name}: ${target.source} compiles to sha256 ${sha256(bytes)}, targets.json has ${target.sha256}`)
  if (moduleText(name, target, bytes) !== committed)
    found.push(`${name}: ${target.output} is not what ${target.source} compiles to`)
  return found
}

const isCheck = process.argv.includes('--check')
const targets = JSON.parse(await readFile(targetsFile, 'utf8'))
const found = []
for (const [name, target] of Object.entries(targets)) {
  const bytes = await compile(target)
  if (isCheck) {
    const committed = await readFile(join(room, target.output), 'utf8').catch(() => '')
    found.push(...differences(name, target, bytes, committed))
  } else {
    if (bytes.length > target.maxBytes)
      found.push(`${name}: ${bytes.length} bytes are over its budget of ${target.maxBytes}`)
    target.sha256 = sha256(bytes)
    await writeFile(join(room, target.output), moduleText(name, target, bytes))
  }
  console.log(`${name}: ${bytes.length} bytes, sha256 ${sha256(bytes)}`)
}
if (!isCheck) {
  const text = JSON.stringify(targets, null, 2).replace(
    /\[\s+([^\]]*?)\s+\]/g,
    (_, list) => `[${list.replace(/\s+/g, ' ')}]`,
  )
  await writeFile(targetsFile, `${text}\n`)
}
if (found.length > 0) {
  for (const sentence of found) console.error(sentence)
  console.error('Next: run `npm run kernels:build` and commit what it writes, or undo the change of the source.')
  process.exitCode = 1
}
