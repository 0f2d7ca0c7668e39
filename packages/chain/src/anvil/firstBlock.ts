import type { Abortable } from '@weightless/core'
import { type Hex, keccak256, toRlp } from 'viem'

/** What JSON.parse takes comfortably; a state has some ten kilobytes for each block. */
const UNPACKED_BYTES_MAX: number = 256 * 1024 ** 2

/** A saved state with the one block 0 that its block 1 stands on, and that block's time. Each start of anvil makes a block 0 of its
 *  own, which a state keeps beside the loaded one if its hash is another, and which of them is found by its number later is left to
 *  chance. Since chain.json tells the time of the first block all starts make the same one; states from before are mended by this.
 *  `undefined` for bytes that are no state, or more than can be read at once. */
export async function withOneFirstBlock(state: Uint8Array, { signal }: Abortable): Promise<MendedState | undefined> {
  try {
    const saved = JSON.parse(await unpacked(state)) as SavedState
    signal?.throwIfAborted()
    const firsts = saved.blocks.filter(({ header }) => BigInt(header['number']!) === 0n)
    const second = saved.blocks.find(({ header }) => BigInt(header['number']!) === 1n)
    const first = second && firsts.find(({ header }) => hashOf(header) === second.header['parentHash'])
    const kept = first ?? firsts[0]
    if (kept === undefined) return undefined
    const timestampS = Number(kept.header['timestamp'])
    if (firsts.length === 1) return { state, timestampS }
    const blocks = saved.blocks.filter((block) => block === kept || !firsts.includes(block))
    return { state: await packed(JSON.stringify({ ...saved, blocks })), timestampS }
  } catch {
    signal?.throwIfAborted()
    return undefined
  }
}

export type MendedState = { readonly state: Uint8Array; readonly timestampS: number }
type Header = { readonly [name: string]: Hex | undefined }
type SavedState = { readonly blocks: readonly { readonly header: Header }[] }

/** In the order of a header (EIPs 1559, 4895, 4844, 4788, 7685): what a block does not have is at the end, and left out. */
const FIELDS =
  'parentHash sha3Uncles miner stateRoot transactionsRoot receiptsRoot logsBloom difficulty number gasLimit gasUsed timestamp ' +
  'extraData mixHash nonce baseFeePerGas withdrawalsRoot blobGasUsed excessBlobGas parentBeaconBlockRoot requestsHash'
const QUANTITIES: ReadonlySet<string> = new Set(
  'difficulty number gasLimit gasUsed timestamp baseFeePerGas blobGasUsed excessBlobGas'.split(' '),
)

function hashOf(header: Header): Hex {
  const values = FIELDS.split(' ').flatMap((name) => {
    const value = header[name]
    return value === undefined ? [] : [QUANTITIES.has(name) ? bytesOf(BigInt(value)) : value]
  })
  return keccak256(toRlp(values))
}

/** Without leading zeros, as RLP takes numbers. */
function bytesOf(value: bigint): Hex {
  if (value === 0n) return '0x'
  const digits = value.toString(16)
  return `0x${digits.length % 2 === 0 ? '' : '0'}${digits}`
}

async function unpacked(bytes: Uint8Array): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  for await (const part of new Blob([bytes as Uint8Array<ArrayBuffer>])
    .stream()
    .pipeThrough(new DecompressionStream('gzip'))) {
    text += decoder.decode(part as Uint8Array, { stream: true })
    if (text.length > UNPACKED_BYTES_MAX) throw new Error('too large')
  }
  return text
}

async function packed(text: string): Promise<Uint8Array> {
  const stream = new Blob([text]).stream().pipeThrough(new CompressionStream('gzip'))
  return new Uint8Array(await new Response(stream as ReadableStream<Uint8Array<ArrayBuffer>>).arrayBuffer())
}
