import {
  concat,
  copyHomes,
  protectedHomes,
  REPLICA_COUNT,
  SEGMENT_SIZE_BYTES,
  segmentOfShard,
  shardCountOf,
  shardLayoutOf,
  verifyCertificate,
  type Certificate,
  type ErasureCode,
  type Home,
  type Root,
  type ShardLayout,
} from '@weightless/core'
import { defaultErasureKernel } from '@weightless/kernels'
import { info, type HeldEntry } from '@weightless/sdk'
import type { Ack } from '../checkers.ts'
import { acksOnChain, parityOfGateway } from './acks.ts'
import { bytesAt, type Eye } from './eye.ts'
import { nodesOf, type World } from './state.ts'

/** From the last fault, or the last loss that was made good, to full strength. A node leaves what it lacks to its writer for 30 s, and
 *  tries what it could not have again after twice the time, up to an hour. */
export const HEAL_MS_MAX = 600_000
const LOOK_AGAIN_MS = 8_000
const CERTIFICATE_BYTES_MAX = 4 * 1024 ** 2

/** Resolves when every object is where it belongs, byte for byte, and certificates say so; what is still missing in the end is a
 *  violation. Everything that is looked at is read. */
export async function untilFullStrength(world: World, eye: Eye): Promise<void> {
  const { checker, plan } = world
  if (plan.gatewayCode === undefined && !plan.objects.some(({ code }) => code !== undefined)) return
  let weak: readonly string[] = ['nobody has looked yet']
  const isStrong = await eye.during(HEAL_MS_MAX, async () => {
    for (;;) {
      // What homes say costs little; only when they say that all is there, it is read.
      weak = await weaknesses(world, eye, 'told')
      if (weak.length === 0) weak = await weaknesses(world, eye, 'read')
      if (weak.length === 0) return
      await eye.process.clock.sleep(LOOK_AGAIN_MS, {})
    }
  })
  if (!isStrong && !checker.isBroken())
    checker.violation('liveness', `not at full strength after ${HEAL_MS_MAX / 1000} s: ${weak.slice(0, 4).join('; ')}`)
}

/** Bytes that somebody was told are stored, and how they are to be kept. */
export type KeptObject = {
  readonly root: Root
  readonly seq: number
  readonly bytes: Uint8Array
  readonly kept: { readonly how: 'copies'; readonly count: number } | KeptShards
  /** By other codes that would do: one of them is enough. */
  readonly orElse: readonly KeptObject[]
}
type KeptShards = {
  readonly how: 'shards'
  readonly layout: ShardLayout
  readonly parity: NonNullable<Certificate['parity']>
}

/** Entries of the same bytes are one object: of several codes one with most parity protects it. What the gateway has paid for is asked
 *  for where no owner has a certificate: the entry of an official client is final by any that is durable (docs/erasure.md 15). */
export function keptObjects(world: World): readonly KeptObject[] {
  const groups = new Map<string, Ack[]>()
  for (const ack of acksOnChain(world)) {
    const key = `${ack.root} ${ack.bytes.length}`
    groups.set(key, [...(groups.get(key) ?? []), ack])
  }
  return [...groups.values()].map((acks): KeptObject => {
    const [first] = acks
    const { root, bytes } = first!
    const ofOwners = acks.flatMap(({ seq, certificate }) =>
      certificate?.code == null ? [] : [{ seq, code: certificate.code, parity: certificate.parity }],
    )
    const coded = [...ofOwners, ...ofGateway(world, acks)].sort(
      (a, b) => b.code.m - a.code.m || (a.parity?.seq ?? 0) - (b.parity?.seq ?? 0),
    )
    const [best] = coded
    const mMin = Math.max(...(ofOwners.length > 0 ? ofOwners : coded).map(({ code }) => code.m))
    const ways = coded.flatMap(({ seq, code, parity }): KeptObject[] => {
      const layout = code.m >= mMin ? shardLayoutOf(bytes.length, code) : undefined
      return layout === undefined
        ? []
        : [{ root, seq, bytes, kept: { how: 'shards', layout, parity: parity! }, orElse: [] }]
    })
    if (ways.length === 0) {
      const seq = best?.seq ?? first!.seq
      // Who has uploaded one segment through the gateway has the certificate of its code, for no more copies than that can lose.
      const isOfGateway = bytes.length <= SEGMENT_SIZE_BYTES && acks.some(({ kind }) => kind !== 'durable')
      const code = best?.code ?? (isOfGateway ? world.plan.gatewayCode : undefined)
      return { root, seq, bytes, kept: { how: 'copies', count: copiesOf(code) }, orElse: [] }
    }
    return { ...ways[0]!, orElse: ways.slice(1) }
  })
}

/** Slots that the certificate of no entry names at their homes: entries of the same bytes are kept by the one that names most of them, and
 *  one that was made first may stay behind (seed 103907). */
export function unnamedSlots<T extends NamedSlot>(homes: readonly T[], certified: readonly Certified[]): readonly T[] {
  const seqs = new Set(certified.map(({ seq }) => seq))
  const bySeq = [...seqs].map((seq) => {
    const ofEntry = certified.filter((one) => one.seq === seq)
    return homes.filter(({ slot, id }) => !ofEntry.some((one) => one.slot === slot && one.id === id))
  })
  return bySeq.reduce<readonly T[]>((least, unnamed) => (unnamed.length < least.length ? unnamed : least), homes)
}

/** Parity that the gateway has paid for. */
function ofGateway({ chain }: World, [first, ...rest]: readonly Ack[]) {
  const { root, bytes } = first!
  const seq = [first!, ...rest].find(({ certificate }) => certificate === undefined)?.seq
  if (seq === undefined) return []
  return parityOfGateway(chain).flatMap(({ tags, parity }) =>
    tags.dataRoot === root && tags.sizeBytes === bytes.length ? [{ seq, code: tags.code, parity }] : [],
  )
}

/** Nodes restore no more copies of a single segment than of anything else, whatever its code. */
const copiesOf = (code: ErasureCode | undefined): number => Math.min(REPLICA_COUNT, 1 + (code?.m ?? REPLICA_COUNT))

async function weaknesses(world: World, eye: Eye, how: 'told' | 'read'): Promise<readonly string[]> {
  const found: string[] = []
  const idOf = new Map(world.chain.members().map(({ endpoint, id }) => [endpoint, id]))
  const atOf = new Map(nodesOf(world).map((at) => [idOf.get(world.machines[at]!.url), at]))
  for (const object of keptObjects(world)) {
    let lines: readonly string[] = await weaknessesOf(world, eye, { object, atOf, how })
    for (const other of object.orElse)
      if (lines.length > 0 && (await weaknessesOf(world, eye, { object: other, atOf, how })).length === 0) lines = []
    found.push(...lines)
  }
  return found
}

type Looking = {
  readonly object: KeptObject
  readonly atOf: ReadonlyMap<number | undefined, number>
  readonly how: 'told' | 'read'
}

async function weaknessesOf(world: World, eye: Eye, { object, atOf, how }: Looking): Promise<readonly string[]> {
  const found: string[] = []
  const about = `${object.root.slice(0, 10)} (${object.bytes.length} bytes, entry ${object.seq})`
  const homes = homesOf(world, object)
  const looks = homes.flatMap(({ slot, member }) => {
    const at = atOf.get(member.id)
    if (at === undefined) found.push(`${about}: slot ${slot} belongs on node ${member.id}, which is away`)
    return at === undefined || at === world.plan.liar ? [] : [{ at, slot, id: member.id }]
  })
  const held = await Promise.all(looks.map((look) => lookAt(world, eye, object, { ...look, how })))
  for (const [i, { isThere, why }] of held.entries())
    if (!isThere) found.push(`${about}: node ${looks[i]!.at} for slot ${looks[i]!.slot}: ${why}`)
  if (how === 'read' && object.kept.how === 'shards' && held.every(({ isThere }) => isThere)) {
    const certified = held.flatMap((look) => look.certified)
    const unnamed = unnamedSlots(looks, certified)
    for (const { slot, id } of unnamed) found.push(`${about}: no certificate says that ${id} has slot ${slot}`)
    found.push(...(await weakInfo(world, eye, object, homes.length)).map((line) => `${about}: ${line}`))
  }
  return found.length > 0 && (await isCopiedForGood(world, eye, object, how)) ? [] : found
}

/** A reorganisation makes certificates void. Where all members that had the parity are gone by then, nobody can prove it any more: what nobody
 *  has proven changes nothing (docs/wire.md), and three copies are what the object is kept by. */
async function isCopiedForGood(world: World, eye: Eye, object: KeptObject, how: 'told' | 'read'): Promise<boolean> {
  const { root, kept } = object
  if (kept.how !== 'shards' || !world.plan.faults.some(({ kind }) => kind === 'reorg')) return false
  // Who drains is asked for nothing that is not certified.
  const members = new Set(world.chain.members().map(({ endpoint }) => endpoint))
  const honest = nodesOf(world).filter((at) => at !== world.plan.liar && members.has(world.machines[at]!.url))
  const answers = await Promise.all(
    honest.map((at) =>
      eye
        .node(at)
        .entries(root, {})
        .catch(() => []),
    ),
  )
  const parities = answers.flat().flatMap((entry) => entry.parities.filter((one) => one.root === kept.parity.root))
  if (parities.some(({ slots }) => slots.some((slot) => slot >= kept.layout.code.k))) return false
  const copied = { ...object, kept: { how: 'copies' as const, count: REPLICA_COUNT } }
  const urls = new Set(homesOf(world, copied).map(({ member }) => member.endpoint))
  const homes = honest.filter((at) => urls.has(world.machines[at]!.url))
  const looks = await Promise.all(homes.map((at) => lookAt(world, eye, copied, { at, slot: 0, how })))
  return looks.length > 0 && looks.every(({ isThere }) => isThere)
}

function homesOf({ chain }: World, { root, bytes, kept }: KeptObject): readonly Home[] {
  const members = chain.members()
  return kept.how === 'shards'
    ? protectedHomes({ dataRoot: root, sizeBytes: bytes.length, code: kept.layout.code }, members)
    : copyHomes({ key: root, count: kept.count }, members)
}

type NamedSlot = { readonly slot: number; readonly id: number }
/** What a certificate of an entry says. */
type Certified = NamedSlot & { readonly seq: number }
type Look = { readonly isThere: boolean; readonly why: string; readonly certified: readonly Certified[] }
const THERE: Look = { isThere: true, why: '', certified: [] }
const nothing = (why: string): Look => ({ isThere: false, why, certified: [] })

/** One home: what it says, the bytes themselves, and the certificate that it keeps. */
async function lookAt(
  world: World,
  eye: Eye,
  object: KeptObject,
  { at, slot, how }: { readonly at: number; readonly slot: number; readonly how: 'told' | 'read' },
): Promise<Look> {
  const { root, seq, bytes, kept } = object
  const node = eye.node(at)
  try {
    const entries = (await node.entries(root, {})).filter(({ sizeBytes }) => sizeBytes === bytes.length)
    const entry = entries.find((known) => known.seq === seq)
    if (entry === undefined) return nothing('it does not know the entry')
    if (kept.how === 'copies') {
      if (!entry.complete) return nothing('its copy is not whole')
      if (how === 'told') return THERE
      const count = Math.ceil(bytes.length / SEGMENT_SIZE_BYTES)
      const data = await bytesAt(node, { root, seq, from: 0, count, step: 1 })
      return isPrefix(bytes, data) ? THERE : nothing('its copy cannot be read')
    }
    const { layout, parity } = kept
    const told = whatHomeHas(entries, { ...kept, seq, slot })
    if (told.provenSeqs.length === 0) return nothing(told.why)
    if (how === 'told') return THERE
    const { k, m } = layout.code
    const isData = slot < k
    const { segmentIndex } = segmentOfShard(layout, { stripe: 0, slot })!
    const of = isData ? { root, seq, step: k } : { root: parity.root, seq: parity.seq, step: m }
    const data = await bytesAt(node, { ...of, from: segmentIndex, count: shardCountOf(layout, slot) })
    if (!isPrefix(expectedShards(object, layout, slot), data)) return nothing('its shards cannot be read')
    const { chainId, registry, membershipHashOf } = world.chain
    const certified: Certified[] = []
    for (const provenSeq of told.provenSeqs) {
      const what = { seq: provenSeq, sizeBytesMax: CERTIFICATE_BYTES_MAX }
      const certificate = await node.certificate(root, what, {})
      if (certificate === undefined) return nothing('it has no certificate')
      const { holders } = verifyCertificate(certificate, { chainId, registry, membershipHashOf })
      for (const { member, slots } of holders)
        certified.push(...slots.map((held) => ({ seq: provenSeq, slot: held, id: member.id })))
    }
    return { isThere: true, why: '', certified }
  } catch (error) {
    return nothing(String(error))
  }
}

/** What a home says of its slot, by its entries of these bytes: which of them have a certificate, or what is missing. They share their
 *  shards, and the certificate of one of them will do. Owners who come at the same time pay for an entry of the same parity each, so it
 *  is told by its bytes and its code, not by its number. */
export function whatHomeHas(
  entries: readonly HeldEntry[],
  {
    seq,
    slot,
    layout: { code },
    parity: { root },
  }: Omit<KeptShards, 'how'> & { readonly seq: number; readonly slot: number },
): { readonly provenSeqs: readonly number[]; readonly why: string } {
  const isSame = (one: HeldEntry['parities'][number]): boolean =>
    one.root === root && one.code.k === code.k && one.code.m === code.m
  const told = entries.find((entry) => entry.seq === seq)?.parities.find(isSame)
  if (told?.slots.includes(slot) !== true) return { provenSeqs: [], why: 'it does not have all shards' }
  const proven = entries.filter(({ parities }) => parities.some((one) => isSame(one) && one.proven))
  return { provenSeqs: proven.map((one) => one.seq), why: 'its parity is not proven there' }
}

/** What is read may have zeros behind. */
function isPrefix(wanted: Uint8Array, read: Uint8Array | undefined): boolean {
  if (read === undefined || read.length < wanted.length) return false
  return Buffer.compare(wanted, read.subarray(0, wanted.length)) === 0
}

const expected = new WeakMap<Uint8Array, Map<string, Uint8Array>>()

/** The shards of a slot, one behind the other, computed from the bytes themselves. */
function expectedShards({ bytes }: KeptObject, layout: ShardLayout, slot: number): Uint8Array {
  const { code } = layout
  const known = expected.get(bytes) ?? new Map<string, Uint8Array>()
  expected.set(bytes, known)
  const name = `${code.k} ${code.m} ${slot}`
  const data = (stripe: number, of: number): Uint8Array | undefined => {
    const from = (stripe * code.k + of) * SEGMENT_SIZE_BYTES
    return from < bytes.length ? bytes.subarray(from, from + SEGMENT_SIZE_BYTES) : undefined
  }
  const made =
    known.get(name) ??
    concat(
      Array.from({ length: shardCountOf(layout, slot) }, (_, stripe) =>
        slot < code.k
          ? data(stripe, slot)!
          : parityShard(
              code,
              Array.from({ length: code.k }, (_, of) => data(stripe, of)),
              slot,
            ),
      ),
    )
  known.set(name, made)
  return made
}

function parityShard(code: ErasureCode, data: readonly (Uint8Array | undefined)[], slot: number): Uint8Array {
  const whole = data.map((shard) => {
    if (shard === undefined || shard.length === SEGMENT_SIZE_BYTES) return shard
    const extended = new Uint8Array(SEGMENT_SIZE_BYTES)
    extended.set(shard)
    return extended
  })
  const parity = Array.from({ length: code.m }, () => new Uint8Array(SEGMENT_SIZE_BYTES))
  defaultErasureKernel().encodeParity({ code, data: whole, parity })
  return parity[slot - code.k]!
}

/** What any user is told of it. Whoever lies may be left out. */
async function weakInfo(
  { plan }: World,
  { client }: Eye,
  { root, kept }: KeptObject,
  homeCount: number,
): Promise<readonly string[]> {
  if (kept.how !== 'shards') return []
  const least = homeCount - kept.layout.dataSlotCount - (plan.liar === undefined ? 0 : 1)
  try {
    const { protection } = await info(client, root)
    // Another parity may protect what `info` speaks of, the first entry of a root.
    if (protection === undefined) return [`info knows no certificate`]
    if (protection.certificate.parity?.root !== kept.parity.root) return []
    const { lossesSurvivedNow } = protection
    if (lossesSurvivedNow !== undefined && lossesSurvivedNow >= least) return []
    return [`info says that it survives ${lossesSurvivedNow} losses and not ${least}`]
  } catch (error) {
    return [`info: ${String(error)}`]
  }
}
