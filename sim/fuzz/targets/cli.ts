import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  parseNodeCount,
  parsePortBase,
  parseRange,
  parseRoots,
  parseSeconds,
} from '../../../packages/cli/src/arguments.ts'
import { layoutOfDirectory } from '../../../packages/cli/src/local/directory.ts'
import { renderLine, timeOfLine } from '../../../packages/cli/src/local/logLines.ts'
import { parseState, readState } from '../../../packages/cli/src/local/state.ts'
import { parseNetwork } from '../../../packages/cli/src/networkFile.ts'
import { insist, isSample, laterOutcomeOf, outcomeOf, type FuzzTarget } from '../engine.ts'
import { smallObject, text } from './core.ts'

const address = `0x${'12'.repeat(20)}`
const account = { address, privateKey: `0x${'34'.repeat(32)}` }
const network = {
  version: 1, pid: 1,
  chain: { rpcUrl: 'http://127.0.0.1:1', wsUrl: 'ws://127.0.0.1:1', chainId: 31337 },
  accounts: [account, account],
  contracts: { flow: address, market: address, reward: address, storageRegistry: address },
  storage: { indexerUrl: 'http://127.0.0.1:2', gatewayUrl: 'http://127.0.0.1:2', nodes: [{ id: 'node-0', url: 'http://127.0.0.1:3', pid: null, dataDir: '/x' }] },
} // prettier-ignore
const networkJson: FuzzTarget = {
  name: 'network-json',
  from: 'whoever wrote the file',
  kind: 'json',
  corpus: [JSON.stringify(network), JSON.stringify({ ...network, kv: { url: 'x' } })],
  words: ['"accounts":[]', '"chain":', '"nodes":', 'http://', '"length":9'],
  run: (input) =>
    outcomeOf(() => {
      const read = parseNetwork(text(input))
      // What commands go on to use.
      void read.accounts[1]!.privateKey.length
      for (const node of read.storage.nodes) void node.url.length
    }),
}

const commandLine: FuzzTarget = {
  name: 'arguments',
  from: 'the command line',
  kind: 'text',
  corpus: ['0-5', '5-', '17', '1024', `${smallObject.tree.root},${smallObject.tree.root}`, '9'.repeat(15)],
  words: ['-', ',', '0x', ' ', '1e3', '٣'],
  run: (input) => {
    const argument = text(input)
    return [
      outcomeOf(() => parseRoots(argument)),
      outcomeOf(() => {
        const { start, end } = parseRange(argument)
        insist(
          Number.isSafeInteger(start) && (end === undefined || (Number.isSafeInteger(end) && end > start)),
          'a range has bytes',
        )
      }),
      outcomeOf(() => insist(parseNodeCount(argument) >= 1, 'nodes are counted from one')),
      outcomeOf(() => insist(parsePortBase(argument) < 65_536, 'a port has 16 bits')),
      outcomeOf(() => insist(parseSeconds(argument) >= 1, 'no time is less than a second')),
    ]
      .map((word) => (word === 'ok' ? 'ok' : 'no'))
      .join(' ')
  },
}

let folder: string | undefined
const stateFiles: FuzzTarget = {
  name: 'state-json',
  from: 'whoever wrote the file',
  kind: 'json',
  corpus: [
    JSON.stringify({
      portBase: 8600,
      chainPort: 8600,
      gatewayPort: 8601,
      adminPort: 8602,
      nextNode: 2,
      nodes: [{ id: 'node-0', port: 8610, draining: false }],
    }),
  ],
  words: ['"nodes":', '"id":"node-1"', '"port":'],
  run: async (input) => {
    const word = outcomeOf(() => {
      for (const node of parseState(text(input), { dir: '/' }).nodes)
        insist(/^node-\d+$/.test(node.id), 'a node has an id of ours: it names a directory')
    })
    if (!isSample(input, 64)) return word
    folder ??= mkdtempSync(join(tmpdir(), 'weightless-fuzz-'))
    const layout = layoutOfDirectory(folder)
    writeFileSync(layout.state, input)
    insist((await laterOutcomeOf(() => readState(layout))) === word, 'a file says what its content says')
    return word
  },
  close: async () => {
    if (folder !== undefined) rmSync(folder, { recursive: true })
    folder = undefined
  },
}

const logLines: FuzzTarget = {
  name: 'log-lines',
  from: 'log files',
  kind: 'json',
  corpus: [
    '{"level":30,"time":"2026-11-28T21:00:00.000Z","event":"node.started","role":"storage","error":{"message":"x","code":"Y"}}',
    'plain text',
    '{}',
  ],
  words: ['"level":', '"time":', '"event":', '\u001b[31m'],
  run: (input) => {
    const line = text(input).split('\n')[0]!
    const rendered = renderLine(line)
    insist(typeof rendered === 'string', 'a line is a text')
    return `${timeOfLine(line) === undefined ? 'no time' : 'time'}`
  },
}

export const cliTargets: readonly FuzzTarget[] = [networkJson, commandLine, stateFiles, logLines]
