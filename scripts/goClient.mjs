// The official Go client, unmodified, against a network started by `weightless up`: what it stores it reads back, and so do we.
// Go is no need of ours, so this is no part of the test command: it takes the path of the built client.
//   git clone https://github.com/0gfoundation/0g-storage-client && cd 0g-storage-client && go build -o 0g .
//   node scripts/goClient.mjs 0g-storage-client/0g [--record REVISION]
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'

const top = resolve(import.meta.dirname, '..')
const { values, positionals } = parseArgs({ options: { record: { type: 'string' } }, allowPositionals: true })
if (positionals.length !== 1 || !existsSync(positionals[0])) {
  process.stderr.write('usage: node scripts/goClient.mjs CLIENT [--record REVISION]\n')
  process.exit(2)
}
const client = resolve(positionals[0])
const RUN_MS_MAX = 180_000
const folder = mkdtempSync(join(tmpdir(), 'weightless-go-'))
const dir = join(folder, 'network')
const at = (name) => join(folder, name)

function run(command, args) {
  const { status, stdout, stderr } = spawnSync(command, args, {
    encoding: 'utf8',
    timeout: RUN_MS_MAX,
    maxBuffer: 1 << 26,
  })
  return { ok: status === 0, said: `${stdout}${stderr}` }
}
const ours = (...args) => run(process.execPath, [join(top, 'packages/cli/bin/weightless.js'), ...args, '--dir', dir])
const theirs = (...args) => run(client, [...args, '--log-color-disabled'])

function insist(condition, what, said = '') {
  if (!condition) throw new Error(`${what}\n${said.trim().split('\n').slice(-3).join('\n')}`)
}

function makeFile(name, sizeBytes) {
  writeFileSync(at(name), randomBytes(sizeBytes))
  return at(name)
}
const isSame = (a, b) => existsSync(b) && readFileSync(a).equals(readFileSync(b))

/** Where and by whom; the flags of the client. */
const payer = () => ['--url', network.chain.rpcUrl, '--key', network.accounts[2].privateKey]
const indexer = () => ['--indexer', network.storage.indexerUrl]

let network
/** Uploads by the indexer; the root as the client says it. */
function upload(file, ...options) {
  const { ok, said } = theirs('upload', ...payer(), ...indexer(), '--file', file, ...options)
  insist(ok, 'the upload failed', said)
  return /root=(0x[0-9a-f]{64})/.exec(said)[1]
}

function download(roots, options, name) {
  rmSync(at(name), { force: true })
  const which = roots.includes(',') ? '--roots' : '--root'
  return theirs('download', ...indexer(), which, roots, '--file', at(name), ...options)
}

function readBack(file, roots) {
  for (const options of [[], ['--proof']]) {
    const { said } = download(roots, options, 'theirs.copy')
    insist(isSame(file, at('theirs.copy')), ['the Go client read other bytes', ...options].join(' '), said)
  }
  rmSync(at('our.copy'), { force: true })
  const { said } = ours('get', roots, '-o', at('our.copy'))
  insist(isSame(file, at('our.copy')), 'we read other bytes', said)
}

function storeAndRead(sizeBytes, ...options) {
  const file = makeFile('file', sizeBytes)
  readBack(file, upload(file, ...options))
}

function fragments() {
  const file = makeFile('file', 10_000_001)
  const { said } = theirs('upload', ...payer(), ...indexer(), '--file', file, '--fragment-size', '4194304')
  const roots = /fragments, roots = ([0-9a-fx,]+)/.exec(said)?.[1] ?? ''
  insist(roots.split(',').length === 3, 'three fragments', said)
  readBack(file, roots)
}

function encrypted() {
  const file = makeFile('file', 700_001)
  const key = `0x${randomBytes(32).toString('hex')}`
  const keys = [
    [
      ['--encryption-key', key],
      ['--encryption-key', key],
    ],
    [['--encrypt'], ['--decrypt', '--private-key', network.accounts[2].privateKey]],
  ]
  for (const [sealing, opening] of keys) {
    const { said } = download(upload(file, ...sealing), opening, 'theirs.copy')
    insist(isSame(file, at('theirs.copy')), 'the Go client read other bytes', said)
  }
}

async function directories() {
  mkdirSync(at('tree/sub'), { recursive: true })
  for (const [name, sizeBytes] of [
    ['tree/a', 1_000_000],
    ['tree/empty', 0],
    ['tree/sub/large', 10_000_001],
  ])
    makeFile(name, sizeBytes)
  symlinkSync('a', at('tree/link'))
  const { gatewayUrl } = network.storage
  const cut = ['--fragment-size', '4194304']
  const { said } = theirs('upload-dir', ...payer(), '--node', gatewayUrl, '--file', at('tree'), ...cut)
  const root = /rootHash=(0x[0-9a-f]{64})/.exec(said)?.[1]
  insist(root !== undefined, 'the upload of the directory failed', said)
  theirs('download-dir', ...indexer(), '--root', root, '--file', at('tree.copy'))
  insist(run('diff', ['-r', '--no-dereference', at('tree'), at('tree.copy')]).ok, 'another directory came back')
  const listed = await (await fetch(`${gatewayUrl}/file/${root}/`)).json()
  insist(listed.data?.map(({ name }) => name).join() === 'a,empty,link,sub', 'another list', JSON.stringify(listed))
  const large = Buffer.from(await (await fetch(`${gatewayUrl}/file/${root}/sub/large`)).arrayBuffer())
  insist(large.equals(readFileSync(at('tree/sub/large'))), 'the gateway read other bytes')
}

function replicas() {
  storeAndRead(3_000_000, '--expected-replica', '3', '--method', 'random', '--full-trusted=false')
  const file = makeFile('file', 1000)
  const { ok, said } = theirs('upload', ...payer(), ...indexer(), '--file', file, '--expected-replica', '4')
  insist(
    !ok && said.includes('replication requirement') && !said.includes('Transaction sent'),
    'four are refused',
    said,
  )
}

function twoNodesGone() {
  const file = makeFile('file', 10_000_001)
  const root = upload(file, '--finality-required', '--fast-mode=false')
  for (const { pid, dataDir } of network.storage.nodes.slice(1, 3)) {
    process.kill(pid, 'SIGKILL')
    rmSync(dataDir, { recursive: true, force: true })
  }
  readBack(file, root)
  storeAndRead(3_000_001)
}

const steps = [
  ...[1, 256, 257, 262_145, 1_000_000, 10_000_001].map((size) => [`${size} B`, () => storeAndRead(size)]),
  ['64 MB', () => storeAndRead(64_000_000)],
  [
    '3 MB, `--fast-mode=false --finality-required`',
    () => storeAndRead(3_000_000, '--fast-mode=false', '--finality-required'),
  ],
  ['3 MB, `--task-size 1 --routines 8`', () => storeAndRead(3_000_000, '--task-size', '1', '--routines', '8')],
  ['10 MB in fragments of 4 MiB', fragments],
  ['700 KB encrypted, with a key and for a wallet', encrypted],
  ['a directory: `upload-dir`, `download-dir`, and its list and a file by path over REST', directories],
  ['`--expected-replica 3`; 4 are refused before anything is paid', replicas],
  ['10 MB, then two of six nodes killed and deleted; 3 MB more', twoNodesGone],
]
const rows = []
try {
  const up = ours('up', '--detach', '--port-base', '0')
  insist(up.ok, 'up failed', up.said)
  network = JSON.parse(readFileSync(join(dir, 'network.json'), 'utf8'))
  for (const [what, step] of steps) {
    const startMs = performance.now()
    try {
      await step()
    } catch (error) {
      process.exitCode = 1
      rows.push([what, `**${error.message.split('\n')[0]}**`, ''])
      process.stderr.write(`${what}: ${error.message}\n`)
      continue
    }
    rows.push([what, 'same bytes, by both', ((performance.now() - startMs) / 1000).toFixed(0)])
    process.stderr.write(`${what}: ok\n`)
  }
} finally {
  ours('down')
  rmSync(folder, { recursive: true, force: true })
}
if (values.record !== undefined) {
  const lines = [['what', 'outcome', 's'], ['---', '---', '---'], ...rows].map((cells) => `| ${cells.join(' | ')} |`)
  const page = [
    '# go-client: the official Go client, unmodified, against `weightless up`',
    '',
    `\`node scripts/goClient.mjs CLIENT\`, ${new Date().toISOString().slice(0, 10)}; \`0g-storage-client\` at ${values.record}, Node ${process.version}, six nodes, 4+2. Each file is stored by the Go client and read back by it, with proofs and without, and by ours. The seconds are mostly its own waiting.`,
    '',
    ...lines,
    '',
  ]
  const path = join(top, 'docs/bench/go-client.md')
  // What is written there by hand stays.
  const byHand = existsSync(path) ? (/^## [^]*/m.exec(readFileSync(path, 'utf8'))?.[0] ?? '') : ''
  writeFileSync(path, `${page.join('\n')}${byHand === '' ? '' : `\n${byHand}`}`)
}
