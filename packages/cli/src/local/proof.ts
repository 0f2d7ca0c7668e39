import { isFailure, parseCode, toHex, type Abortable, type Clock, type ErasureCode } from '@weightless/core'
import { keccak256 } from '@weightless/kernels'
import { createClient, downloadBytes, privateKeySigner, upload, type Client } from '@weightless/sdk'
import { systemRandom } from '@weightless/host'
import { fail } from '../errors.ts'
import type { NetworkDescription } from '../networkFile.ts'
import { roomOf } from './room.ts'

/** One whole segment and a byte: the smallest object with a proof that has a sibling. */
const PROOF_BYTES = 262_145
/** Storing and reading back takes some 100 ms; a machine that needs longer than this has another problem. */
const PROOF_MS_MAX = 30_000

/** Stores an object through the SDK that users have, and reads it back byte for byte with one of its holders left out (when
 *  there is more than one node). Throws `PROOF_FAILED`. */
export async function proveNetwork(
  options: {
    readonly network: NetworkDescription
    readonly privateKey: Uint8Array
    readonly signers: ReadonlyMap<string, string>
  },
  deps: { readonly clock: Clock },
  { signal }: Abortable,
): Promise<{ readonly root: string; readonly leftOut: string | undefined }> {
  const { network } = options
  const at = {
    rpcUrl: network.chain.rpcUrl,
    chainId: network.chain.chainId,
    flow: network.contracts.flow,
    registry: network.contracts.storageRegistry,
  }
  const scope = AbortSignal.any([deps.clock.deadline(PROOF_MS_MAX), ...(signal === undefined ? [] : [signal])])
  const bytes = systemRandom.bytes(PROOF_BYTES)
  try {
    const writer = createClient({ network: at, signer: privateKeySigner(options.privateKey) })
    const { root, receipts } = await upload(writer, bytes, { code: codeFor(network), until: 'durable', signal: scope })
    // A holder is left out, not just any node: the read must really find another copy.
    const holder = network.storage.nodes.length > 1 ? options.signers.get(receipts[0]!.signer) : undefined
    const others = network.storage.nodes.filter((node) => node.id !== holder).map((node) => node.url)
    const reader: Client = createClient({ network: at, storageNodes: others })
    const read = await downloadBytes(reader, root, { signal: scope })
    if (toHex(keccak256(read)) !== toHex(keccak256(bytes)))
      throw fail('PROOF_FAILED', { root, reason: 'other bytes came back' })
    return { root, leftOut: holder }
  } catch (error) {
    if (signal?.aborted) throw signal.reason
    throw fail('PROOF_FAILED', { nodes: network.storage.nodes.length }, { cause: error })
  }
}

/** Whether a proof failed because nodes have no room for its object. Whatever else fails is a fault of the network. */
export function isForWantOfRoom(error: unknown, freeBytes: number): boolean {
  if (!isFailure(error, 'PROOF_FAILED') || roomOf(freeBytes) !== 'full') return false
  return isFailure(error.cause, 'NODES_TOO_FEW') || isFailure(error.cause, 'DURABILITY_NOT_REACHED')
}

/** That of the network, while there are nodes for all its slots: some of an older network may be down. */
function codeFor({ storage }: NetworkDescription): ErasureCode | undefined {
  if (storage.code === undefined) return undefined
  const code = parseCode(storage.code)
  return storage.nodes.length < code.k + code.m ? undefined : code
}
