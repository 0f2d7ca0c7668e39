// Compiles solidity/ with the npm compiler and writes src/generated/*.ts and solidity/storageLayout.json.
// `--check` compiles, compares and exits 1 on any difference: what is committed is what the sources say.
import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const require = createRequire(import.meta.url)
const solc = require('solc')

const room = path.join(path.dirname(fileURLToPath(import.meta.url)), '..')
const solidity = path.join(room, 'solidity')
const generated = path.join(room, 'src/generated')

/** Which contracts leave the room: source, name there, name here. */
const contracts = [
  { file: 'flow/Flow.sol', contract: 'Flow', name: 'flow' },
  { file: 'market/FixedPrice.sol', contract: 'FixedPrice', name: 'market' },
  { file: 'reward/ChunkLinearReward.sol', contract: 'ChunkLinearReward', name: 'reward' },
  { file: 'mine/Mine.sol', contract: 'Mine', name: 'mine' },
  { file: 'flow/DigestHistory.sol', contract: 'DigestHistory', name: 'digestHistory' },
  { file: 'registry/StorageRegistry.sol', contract: 'StorageRegistry', name: 'storageRegistry' },
]

const settings = {
  evmVersion: 'cancun',
  optimizer: { enabled: true, runs: 200 },
  // No metadata in the bytecode: it would change with every comment.
  metadata: { appendCBOR: false, bytecodeHash: 'none' },
  outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object', 'storageLayout'] } },
}

const outputs = render(compile(await readSources()))
const check = process.argv.includes('--check')
let stale = 0
for (const [file, text] of outputs) {
  const relative = path.relative(room, file)
  if (!check) {
    await mkdir(path.dirname(file), { recursive: true })
    await writeFile(file, text)
    console.log(`wrote ${relative}`)
  } else if ((await readFile(file, 'utf8').catch(() => undefined)) !== text) {
    console.error(`${relative} differs from what solidity/ compiles to: run npm run contracts:build`)
    stale++
  }
}
if (check) console.log(`${outputs.size - stale} of ${outputs.size} files match their sources (solc ${solc.version()})`)
process.exitCode = stale === 0 ? 0 : 1

async function readSources() {
  const entries = await readdir(solidity, { recursive: true })
  const files = entries.filter((name) => name.endsWith('.sol')).sort()
  const texts = await Promise.all(files.map((name) => readFile(path.join(solidity, name), 'utf8')))
  return Object.fromEntries(files.map((name, i) => [name.split(path.sep).join('/'), { content: texts[i] }]))
}

function compile(sources) {
  const input = { language: 'Solidity', sources, settings }
  const readImport = (name) => ({ contents: readPackageFile(name) })
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: readImport }))
  // `at` and `leave` are names of ABIs that others fixed; everything else the compiler says is an error here.
  const complaints = (output.errors ?? []).filter((error) => !/^"(at|leave)" will be promoted/.test(error.message))
  if (complaints.length > 0) throw new Error(complaints.map((error) => error.formattedMessage).join('\n'))
  return output.contracts
}

function readPackageFile(name) {
  return require('node:fs').readFileSync(require.resolve(name), 'utf8')
}

function render(compiled) {
  const files = new Map()
  const layouts = {}
  for (const { file, contract, name } of contracts) {
    const { abi, evm, storageLayout } = compiled[file][contract]
    files.set(path.join(generated, `${name}.ts`), renderModule(name, file, abi, evm.bytecode.object))
    const slotsOf = (members) => members.map((member) => renderSlot(member, storageLayout.types[member.type]))
    layouts[contract] = slotsOf(storageLayout.storage)
    for (const { label, members } of Object.values(storageLayout.types ?? {})) {
      if (members) layouts[label] = slotsOf(members)
    }
  }
  files.set(path.join(solidity, 'storageLayout.json'), renderLayouts(layouts))
  return files
}

function renderModule(name, file, abi, bytecode) {
  const entries = abi.map((entry) => `  ${JSON.stringify(entry)},\n`).join('')
  return (
    `// Generated from solidity/${file} by scripts/build.mjs. Do not edit.\n` +
    `export const ${name}Abi = [\n${entries}] as const\n\n` +
    `export const ${name}Bytecode: \`0x\${string}\` =\n  '0x${bytecode}'\n`
  )
}

function renderSlot({ label, slot, offset }, type) {
  return { slot: Number(slot), offset, label, type: type.label, sizeBytes: Number(type.numberOfBytes) }
}

function renderLayouts(layouts) {
  const blocks = Object.entries(layouts).map(
    ([owner, slots]) => `"${owner}": [\n${slots.map((slot) => `  ${JSON.stringify(slot)}`).join(',\n')}\n]`,
  )
  return `{\n${blocks.join(',\n')}\n}\n`
}
