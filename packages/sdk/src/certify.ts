import {
  assembleCertificate,
  equal,
  isFailure,
  membershipHash,
  shardLayoutOf,
  verifyCertificate,
  type Abortable,
  type Address,
  type Certificate,
  type CertificateFacts,
  type CertificateObject,
  type ErasureCode,
  type HeldReceipt,
  type Membership,
  type Receipt,
  type Root,
} from '@weightless/core'
import type { Client } from './client.ts'
import { mapBounded } from './inOrder.ts'
import { NOBODY } from './membership.ts'
import { readMembershipHash } from './registry.ts'
import { withDeadline } from './scope.ts'

/** What holders have signed, put together and checked as anybody would check it. */
export type Certified = { readonly certificate: Certificate; readonly facts: CertificateFacts }

/** Assembles the certificate of an object from receipts that were checked one by one. Throws `CERTIFICATE_INVALID` when a
 *  receipt names a version of the registry whose members nobody tells. */
export async function certify(
  client: Client,
  object: Pick<CertificateObject, 'dataRoot' | 'entrySeq' | 'sizeBytes' | 'code' | 'parity'>,
  held: readonly HeldReceipt[],
  options: Abortable & {
    /** Whose list was used from the start. */
    readonly membership: Membership
    readonly known?: ReadonlyMap<number, Uint8Array> | undefined
    readonly lossesNeeded?: number | undefined
  },
): Promise<Certified> {
  const receipts = held.map(({ receipt }) => receipt)
  const memberships = await membershipsOf(client, receipts, options)
  const registry = receipts[0]!.registry
  const certificate = assembleCertificate({ ...object, chainId: client.network.chainId, registry }, held, memberships)
  const facts = await verifyOwn(client, certificate, registry, options)
  return { certificate, facts }
}

/** Copies that were stored under a code, which an object of one segment is. */
export async function certifyCopies(
  client: Client,
  object: {
    readonly root: Root
    readonly seq: number
    readonly sizeBytes: number
    readonly code: ErasureCode
    readonly receipts: readonly Receipt[]
    readonly lossesNeeded?: number | undefined
  },
  options: Abortable,
): Promise<{
  readonly receipts: readonly Receipt[]
  readonly certificate: Certificate
  readonly lossesSurvived: number
}> {
  const { root, seq, sizeBytes, code, receipts, lossesNeeded } = object
  const membership = await client.membership.read(options)
  const { certificate, facts } = await certify(
    client,
    { dataRoot: root, entrySeq: seq, sizeBytes, code, parity: null },
    receipts.map((receipt) => ({ receipt })),
    { ...options, membership, lossesNeeded },
  )
  const endpoints = facts.holders.map(({ member }) => member.endpoint)
  await handOut(client, certificate, endpoints, options)
  return { receipts: certificate.receipts, certificate, lossesSurvived: facts.lossesSurvived }
}

/** Whoever keeps the certificate needs no other to find out: a node that does not take it is no error. */
export async function handOut(
  client: Client,
  certificate: Certificate,
  endpoints: readonly string[],
  { signal }: Abortable,
): Promise<void> {
  const { dataRoot, entrySeq } = certificate
  const what = { seq: entrySeq, certificate }
  await mapBounded(endpoints, { window: HAND_OUT_WINDOW, signal }, async (endpoint, scope) => {
    try {
      const { node } = client.contacts.of(endpoint)
      await node.putCertificate(dataRoot, what, { signal: scope, timeoutMs: HAND_OUT_MS_MAX })
    } catch (error) {
      scope.throwIfAborted()
      const code = isFailure(error) ? error.code : undefined
      client.deps.logger.warn('certificate.notTaken', { node: endpoint, root: dataRoot, code })
    }
  })
}

const HAND_OUT_WINDOW = 8
/** A node checks as many signatures as there are holders; whoever needs longer asks for it later. */
const HAND_OUT_MS_MAX = 5_000

/** Hashes of the member lists that a certificate names, from the registry on chain: at most so many versions, each a request. */
export const CERTIFICATE_VERSIONS_MAX = 64

/** The registry's hashes of the lists that a certificate names. Without a registry, of a fixed list of nodes, what it names is
 *  all there is. */
export async function membershipHashes(
  client: Client,
  certificate: Certificate,
  options: Abortable,
): Promise<(version: number) => Uint8Array | undefined> {
  const registry = client.network.registry
  const versions = [...new Set(certificate.members.map(({ version }) => version))].slice(0, CERTIFICATE_VERSIONS_MAX)
  const hashes = new Map<number, Uint8Array>()
  if (registry !== undefined) {
    await withDeadline({ ...options, timeoutMs: HASHES_MS_MAX, what: 'member lists' }, client.deps, (signal) =>
      mapBounded(versions, { window: HASHES_WINDOW, signal }, async (version, scope) => {
        hashes.set(version, await readMembershipHash(client.rpc, registry, { version }, { signal: scope }))
      }),
    )
  }
  return (version) => hashes.get(version)
}

const HASHES_MS_MAX = 30_000
const HASHES_WINDOW = 8

async function verifyOwn(
  client: Client,
  certificate: Certificate,
  registry: Address,
  options: Abortable & {
    readonly known?: ReadonlyMap<number, Uint8Array> | undefined
    readonly lossesNeeded?: number | undefined
  },
): Promise<CertificateFacts> {
  const { known, lossesNeeded } = options
  const { chainId } = client.network
  const hashOf =
    client.membership.registry === undefined
      ? listHashes(certificate)
      : await membershipHashes(client, certificate, options)
  return verifyCertificate(certificate, { chainId, registry, membershipHashOf: hashOf, known, lossesNeeded })
}

/** Of a list that the caller typed nobody keeps a hash: it is its own. */
function listHashes({ members }: Certificate): (version: number) => Uint8Array | undefined {
  const lists = new Map(
    members.map((list) => [
      list.version,
      membershipHash(list.members.map((member) => ({ ...member, weight: BigInt(member.weight) }))),
    ]),
  )
  return (version) => lists.get(version)
}

/** The member lists that the receipts name: the one in use, the newest one, and what the holders tell of earlier ones. */
async function membershipsOf(
  client: Client,
  receipts: readonly Receipt[],
  options: Abortable & { readonly membership: Membership },
): Promise<readonly Membership[]> {
  const { membership } = options
  const versions = new Set(receipts.map(({ registryVersion }) => registryVersion))
  if (client.membership.registry === undefined)
    return [...versions].map((version) => typedList(membership, version, receipts))
  const known = new Map([[membership.version, membership]])
  for (const version of versions) {
    const earlier = client.membership.at?.(version)
    if (earlier !== undefined) known.set(version, earlier)
  }
  const missing = (): readonly number[] => [...versions].filter((version) => !known.has(version))
  if (missing().length > 0) {
    const newest = await client.membership.read(options)
    known.set(newest.version, newest)
  }
  for (const { signer } of missing().length > 0 ? receipts : []) {
    const endpoint = membership.members.find((member) => member.signer === signer)?.endpoint
    if (endpoint !== undefined) await learnLists(client, missing(), endpoint, known, options)
  }
  return [...known.values()]
}

/** Nodes of a typed list that did not answer when it was read stand in it as nobody's: the receipts say whose they are. */
function typedList({ members }: Membership, version: number, receipts: readonly Receipt[]): Membership {
  const signers = new Set(members.map(({ signer }) => signer))
  const strangers = receipts.map(({ signer }) => signer).filter((signer) => !signers.has(signer))
  const named = members.map((member) =>
    member.signer === NOBODY ? { ...member, signer: strangers.shift() ?? NOBODY } : member,
  )
  return { version, members: named }
}

/** A list counts when the registry on chain has its hash. */
async function learnLists(
  client: Client,
  versions: readonly number[],
  endpoint: string,
  known: Map<number, Membership>,
  { signal }: Abortable,
): Promise<void> {
  const registry = client.membership.registry!
  const { node } = client.contacts.of(endpoint)
  for (const version of versions.slice(0, CERTIFICATE_VERSIONS_MAX)) {
    try {
      const list = await node.members({ version }, { signal, timeoutMs: MEMBERS_MS_MAX })
      if (list?.version !== version) continue
      const hash = await readMembershipHash(client.rpc, registry, { version }, { signal })
      if (equal(hash, membershipHash(list.members))) known.set(version, list)
    } catch (error) {
      signal?.throwIfAborted()
      if (!isFailure(error)) throw error
    }
  }
}

const MEMBERS_MS_MAX = 5_000

/** What a certificate of such an object may take: member lists and receipts, and the fingerprints of every shard, held twice. */
export function certificateBytesMax(object: { readonly sizeBytes: number; readonly code: ErasureCode | null }): number {
  const { sizeBytes, code } = object
  const layout = code === null ? undefined : shardLayoutOf(sizeBytes, code)
  const shardCount = layout === undefined ? 0 : layout.segmentCount + layout.stripeCount * layout.code.m
  return CERTIFICATE_BASE_BYTES + 2 * shardCount * FINGERPRINT_TEXT_BYTES
}

/** 16 bytes in base64, rounded up. */
const FINGERPRINT_TEXT_BYTES = 22
const CERTIFICATE_BASE_BYTES: number = 8 * 1024 ** 2
