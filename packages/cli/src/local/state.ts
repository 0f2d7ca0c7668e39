import { readFile } from 'node:fs/promises'
import { parseCode } from '@weightless/core'
import { writeFileAtomic } from '@weightless/host'
import { fail } from '../errors.ts'
import type { Layout } from './directory.ts'
import type { LeavingNode } from './status.ts'

/** What a local network remembers between starts, beside the data of its roles. */
export type NetworkState = {
  /** 0: the ports were any free ones. */
  readonly portBase: number
  readonly chainPort: number
  readonly gatewayPort: number
  readonly adminPort: number
  /** What uploads are protected by unless they say otherwise. */
  readonly code: CodeName
  /** Number of the next node: numbers are never used twice, because a registry remembers its members. */
  readonly nextNode: number
  readonly nodes: readonly NodeState[]
  /** Removed, and not let go by the registry yet: their keys are kept until they have left. */
  readonly leaving: readonly LeavingNode[]
}
/** `4+2`, or `none`: three copies. */
export type CodeName = string
export type NodeState = { readonly id: string; readonly port: number; readonly draining: boolean }

/** `undefined` for a directory that has never been started. Throws `DIRECTORY_DAMAGED`. */
export async function readState(layout: Layout): Promise<NetworkState | undefined> {
  let text: string
  try {
    text = await readFile(layout.state, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw fail('DIRECTORY_DAMAGED', { dir: layout.top, file: 'state.json' }, { cause: error })
  }
  return parseState(text, { dir: layout.top })
}

/** What a state file says, `dir` being its directory for the error. Throws `DIRECTORY_DAMAGED`. */
export function parseState(text: string, { dir }: { readonly dir: string }): NetworkState {
  try {
    return stateOf(JSON.parse(text))
  } catch (cause) {
    throw fail('DIRECTORY_DAMAGED', { dir, file: 'state.json' }, { cause })
  }
}

export async function writeState(layout: Layout, state: NetworkState): Promise<void> {
  await writeFileAtomic(layout.state, `${JSON.stringify(state, null, 2)}\n`, { mode: 0o600 })
}

function stateOf(value: unknown): NetworkState {
  const { portBase, chainPort, gatewayPort, adminPort, nextNode, nodes } = value as NetworkState
  for (const port of [chainPort, gatewayPort, adminPort, ...nodes.map((node) => node.port)])
    requireWhole(port, 1, 65_535)
  requireWhole(portBase, 0, 65_535)
  requireWhole(nextNode, 0, Number.MAX_SAFE_INTEGER)
  // A directory from before there were codes has three copies of everything.
  const { code = 'none' } = value as Partial<NetworkState>
  if (code !== 'none') parseCode(code)
  // Nor does one from before it was waited for.
  const { leaving = [] } = value as Partial<NetworkState>
  for (const { leavesAtS } of leaving) if (leavesAtS !== null) requireWhole(leavesAtS, 0, Number.MAX_SAFE_INTEGER)
  for (const { id } of [...nodes, ...leaving])
    if (!/^node-\d{1,15}$/.test(id)) throw new TypeError('not the id of a node')
  return {
    portBase,
    chainPort,
    gatewayPort,
    adminPort,
    code,
    nextNode,
    nodes: nodes.map(({ id, port, draining }) => ({ id, port, draining })),
    leaving: leaving.map(({ id, leavesAtS }) => ({ id, leavesAtS })),
  }
}

function requireWhole(value: unknown, min: number, max: number): void {
  if (!Number.isSafeInteger(value) || (value as number) < min || (value as number) > max)
    throw new TypeError('not a number of ours')
}
