import {
  assembleCertificate,
  decodeBase64,
  protectedHomes,
  type Address,
  type Certificate,
  type Entry,
  type HeldReceipt,
  type Member,
  type Receipt,
} from '@weightless/core'
import { createClient, downloadBytes } from '@weightless/sdk'
import type { CodedObject } from '../../../sim/compliance/codedObject.ts'
import { CHAIN_ID, FLOW, REGISTRY } from './testChain.ts'
import { until } from './testClock.ts'
import { memberOf, putBinary, type TestRole, type TestWorld } from './testRoles.ts'

export type CodedUpload = { readonly object: CodedObject; readonly data: Entry; readonly parity: Entry }
export type Holder = TestRole & { readonly signer: Address }

/** Both entries in one block, as a writer submits them; these nodes have seen them. */
export async function submitCoded(
  world: TestWorld,
  object: CodedObject,
  nodes: readonly TestRole[],
): Promise<CodedUpload> {
  const [data, parity] = world.chain.submit(object.data.submission, object.parity.submission)
  for (const node of nodes) await node.caughtUp()
  return { object, data: data!, parity: parity! }
}

/** Brings the shards of these slots to a node. */
export async function putSlots(
  { object, data, parity }: CodedUpload,
  node: TestRole,
  slots: readonly number[],
): Promise<void> {
  for (const slot of slots) {
    const { of, segments } = object.shardsOf(slot)
    for (let from = 0; from < segments.length; from += 16) {
      const answer = await putBinary(node, of === 'data' ? data : parity, segments.slice(from, from + 16), slot)
      if (answer.status !== 200) throw new Error(await answer.text())
    }
  }
}

export function shardsPath({ data, parity }: CodedUpload, slots?: string): string {
  const query = slots === undefined ? '' : `&slots=${slots}`
  return `/v1/entries/${data.root}/shards?seq=${data.seq}&parity=${parity.seq}${query}`
}

export function certificatePath({ data }: CodedUpload): string {
  return `/v1/entries/${data.root}/certificate?seq=${data.seq}`
}

/** The receipts of the shards that these nodes hold. */
export async function receiptsOf(upload: CodedUpload, nodes: readonly TestRole[]): Promise<readonly HeldReceipt[]> {
  return await Promise.all(
    nodes.map(async (node) => {
      const answer = await node.fetch(shardsPath(upload))
      if (answer.status !== 200) throw new Error(await answer.text())
      const { receipt, fingerprints } = (await answer.json()) as { receipt: Receipt; fingerprints: string }
      return { receipt, fingerprints: decodeBase64(fingerprints)! }
    }),
  )
}

/** A certificate of these receipts; the members are those that a node knows. */
export function certificateOf(upload: CodedUpload, held: readonly HeldReceipt[], of: TestRole): Certificate {
  const { object, data, parity } = upload
  const versions = new Set(held.map(({ receipt }) => receipt.registryVersion))
  return assembleCertificate(
    {
      chainId: CHAIN_ID,
      registry: REGISTRY,
      code: object.layout.code,
      dataRoot: data.root,
      sizeBytes: data.sizeBytes,
      entrySeq: data.seq,
      parity: { root: parity.root, seq: parity.seq },
    },
    held,
    [...versions].map((version) => of.follower.membership.at(version)!),
  )
}

export async function putCertificate(upload: CodedUpload, node: TestRole, certificate: Certificate): Promise<Response> {
  const body = JSON.stringify(certificate)
  return await node.fetch(certificatePath(upload), {
    method: 'PUT',
    body,
    headers: { 'content-length': String(new TextEncoder().encode(body).length) },
  })
}

/** What the name of a node is in its world. */
export function nameOf(node: Holder): string {
  return new URL(node.url).hostname.replace('.test', '')
}

export function membersOf(nodes: readonly Holder[]): readonly Member[] {
  return nodes.map((node, i) => memberOf(i + 1, node))
}

/** The homes of the slots of an object among these nodes. */
export function homesOf(
  object: CodedObject,
  nodes: readonly Holder[],
  of: readonly Member[] = membersOf(nodes),
): Map<number, Holder> {
  const { root, layout } = object.data.tree
  const placed = protectedHomes({ dataRoot: root, sizeBytes: layout.sizeBytes, code: object.layout.code }, of)
  return new Map(placed.map(({ slot, member }) => [slot, nodes.find((node) => node.signer === member.signer)!]))
}

/** All these nodes have a certificate of what these holders sign. */
export async function tellAll(
  upload: CodedUpload,
  holders: readonly Holder[],
  nodes: readonly Holder[],
): Promise<void> {
  const certificate = certificateOf(upload, await receiptsOf(upload, holders), nodes[0]!)
  for (const node of nodes) {
    const answer = await putCertificate(upload, node, certificate)
    if (answer.status !== 200) throw new Error(await answer.text())
  }
}

/** Of data and parity. */
export const segmentCount = ({ data, parity }: CodedUpload, node: Holder): number =>
  node.store.presence(data.root).heldCount + node.store.presence(parity.root).heldCount

export function slotSegments({ object }: CodedUpload, slot: number): number {
  return object.shardsOf(slot).segments.length
}

export async function readBack(
  world: TestWorld,
  nodes: readonly Holder[],
  { data }: Pick<CodedUpload, 'data'>,
): Promise<Uint8Array> {
  const client = createClient(
    {
      network: { rpcUrl: 'http://chain.test/', chainId: CHAIN_ID, flow: FLOW, registry: REGISTRY },
      storageNodes: nodes.map(({ url }) => url),
    },
    { net: world.net, clock: world.clock },
  )
  return await downloadBytes(client, { root: data.root, seq: data.seq })
}

/** Time goes on by hours until it is so: whoever waited longest is tried again. */
export async function eventually(world: TestWorld, isSo: () => boolean, what: string): Promise<void> {
  let turn = 0
  await until(() => {
    if (!isSo() && ++turn % 100 === 0) world.clock.jump(3_600_001)
    return isSo()
  }, what)
}
