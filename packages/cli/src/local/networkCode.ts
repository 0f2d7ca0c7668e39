import { lossesNeededOf, parseCode, type ErasureCode } from '@weightless/core'
import { LOCAL_NODES_MAX } from '../arguments.ts'
import { fail } from '../errors.ts'
import type { CodeName } from './state.ts'

const NODES_DEFAULT = 6
/** Any two of six nodes may be lost. With fewer nodes there are three copies of everything. */
const CODE_DEFAULT: ErasureCode = { k: 4, m: 2 }

/** Storage nodes of a new network: one for each slot of the code that was asked for. Throws `USAGE` for more than there can be. */
export function nodeCountFor(code: CodeName | undefined): number {
  if (code === undefined || code === 'none') return NODES_DEFAULT
  const { k, m } = parseCode(code)
  const count = Math.max(NODES_DEFAULT, k + m)
  if (count <= LOCAL_NODES_MAX) return count
  throw fail('USAGE', {
    reason: `--code ${code} is for ${k + m} storage nodes; with fewer say how many: --nodes N`,
    nodesMax: LOCAL_NODES_MAX,
  })
}

/** What uploads that name no code are protected by: what was asked for, what the network had, or the default of so many nodes. A
 *  network that has lost nodes since then starts all the same. Throws `USAGE` for a code that was asked for and cannot be durable. */
export function chooseCode(
  from: { readonly asked: CodeName | undefined; readonly known: CodeName | undefined },
  nodeCount: number,
): CodeName {
  const { asked, known } = from
  if (asked === undefined) return known ?? defaultCode(nodeCount)
  const needed = holdersNeeded(asked)
  if (nodeCount >= needed) return asked
  throw fail('USAGE', { reason: `--code ${asked} needs ${needed} storage nodes at least`, nodes: nodeCount })
}

/** Before anything is made: what a new network was asked for can be. Throws `USAGE`. */
export function checkNewNetwork(asked: {
  readonly nodes: number | undefined
  readonly code: CodeName | undefined
}): void {
  chooseCode({ asked: asked.code, known: undefined }, asked.nodes ?? nodeCountFor(asked.code))
}

/** So many nodes must sign for any upload to be durable (DESIGN D9). */
export function holdersNeeded(code: CodeName): number {
  if (code === 'none') return 1
  const parsed = parseCode(code)
  return parsed.k + lossesNeededOf(parsed)
}

/** The code, while nodes enough for it answer; else three copies. */
export function affordableCode(code: CodeName, reachableCount: number): CodeName {
  return reachableCount >= holdersNeeded(code) ? code : 'none'
}

function defaultCode(nodeCount: number): CodeName {
  const { k, m } = CODE_DEFAULT
  return nodeCount < k + m ? 'none' : `${k}+${m}`
}
