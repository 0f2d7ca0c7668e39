import { storageRegistryAbi } from '@weightless/contracts'
import {
  isFailure,
  MEMBERS_MAX,
  parseAddress,
  parseHex,
  toHex,
  type Abortable,
  type Address,
  type Hex,
  type Member,
  type Membership,
} from '@weightless/core'
import { BaseError, decodeFunctionResult, encodeFunctionData } from 'viem'
import { fail } from './errors.ts'
import { isRevert } from './revert.ts'
import { call, resultOfCall } from './flowChain.ts'
import { askTogether, type Rpc } from './rpc.ts'
import type { MinedTransaction } from './settle.ts'
import type { SendOptions, Transactor } from './transactor.ts'

/** How a storage node describes itself. */
export type MemberDescription = {
  /** Signs its receipts. */
  readonly signer: Address
  readonly endpoint: string
  /** Failure domain, 32 bytes (core `domainOf`). */
  readonly domain: Hex
  readonly capacitySegments: bigint
}

/** A member as its owner sees it. */
export type OwnMember = Member & {
  readonly owner: Address
  readonly capacitySegments: bigint
  readonly stakeWei: bigint
  /** Unix seconds. */
  readonly lastHeartbeat: number
  readonly status: MemberStatus
}
export type MemberStatus = 'none' | 'active' | 'stale' | 'draining' | 'left'

/** In the order of the contract's enum. */
const STATUSES: readonly MemberStatus[] = ['none', 'active', 'stale', 'draining', 'left']
/** The list changes while it is read: once in a while twice, never for long. */
const READ_ATTEMPTS_MAX = 5
/** Members that drain, asked beside those that are active; as many as nodes ask (node/flow/membership.ts). */
const DRAINING_MAX = 8
/** Looked up to find them: who drained before so many others came and went is not found. */
const LOOKUPS_MAX = 256
/** Lookups in one body: half of what our own door of the chain takes (core `RPC_BATCH_MAX`). */
const LOOKUPS_AT_ONCE = 32
/** Numbers above those of all active members: of the newest ones, which may drain as well. */
const LOOKUPS_AHEAD = 16

/** The active set and its version, read so that they belong together. Throws `REGISTRY_INVALID` when no registry answers. */
export async function readMembers(rpc: Rpc, registry: Address, options: Abortable): Promise<Membership> {
  let before = await readVersion(rpc, registry, options)
  for (let attempt = 1; ; attempt++) {
    const [list, after] = await Promise.all([readList(rpc, registry, options), readVersion(rpc, registry, options)])
    if (before === after) return { version: before, members: list }
    if (attempt === READ_ATTEMPTS_MAX)
      throw fail('REGISTRY_INVALID', { registry, reason: 'it changes faster than it can be read' })
    before = after
  }
}

/** The active members as their owners see them: with stake and last heartbeat. */
export async function readActiveMembers(
  rpc: Rpc,
  registry: Address,
  options: Abortable,
): Promise<readonly OwnMember[]> {
  return read(registry, async () => (await readRaw(rpc, registry, options)).map(ownMemberOf))
}

/** Members that drain, the newest numbers first: they take no duty any more, and serve what they have. The registry lists only who is
 *  active, so every number that is not is looked up. */
export async function readDraining(
  rpc: Rpc,
  registry: Address,
  { active }: { readonly active: readonly Member[] },
  options: Abortable,
): Promise<readonly Member[]> {
  const known = new Set(active.map(({ id }) => id))
  const unlisted: number[] = []
  for (let id = Math.max(0, ...known) + LOOKUPS_AHEAD; id > 0 && unlisted.length < LOOKUPS_MAX; id--)
    if (!known.has(id)) unlisted.push(id)
  const draining: Member[] = []
  for (let at = 0; at < unlisted.length && draining.length < DRAINING_MAX; at += LOOKUPS_AT_ONCE) {
    const found = await readRecords(rpc, registry, unlisted.slice(at, at + LOOKUPS_AT_ONCE), options)
    draining.push(...found.filter(({ status }) => STATUSES[status] === 'draining').map(memberOf))
  }
  return draining.slice(0, DRAINING_MAX)
}

/** What the registry keeps under these numbers, whoever was or was not a member. */
async function readRecords(
  rpc: Rpc,
  registry: Address,
  ids: readonly number[],
  options: Abortable,
): Promise<readonly RawMember[]> {
  return read(registry, async () => {
    const functionName = 'memberOf'
    const asked = ids.map((id) => encodeFunctionData({ abi: storageRegistryAbi, functionName, args: [id] }))
    const calls = asked.map((data) => ['eth_call', [{ to: registry, data }, 'latest']] as const)
    const results = await Promise.all(askTogether(rpc, calls, options))
    return results.map((result, i) => {
      const data = resultOfCall(result, { to: registry, data: asked[i]! })
      return decodeFunctionResult({ abi: storageRegistryAbi, functionName, data })
    })
  })
}

/** Raised with every change of the active set. */
export async function readVersion(rpc: Rpc, registry: Address, options: Abortable): Promise<number> {
  return read(registry, async () => {
    const data = encodeFunctionData({ abi: storageRegistryAbi, functionName: 'version' })
    const result = await call(rpc, registry, data, options)
    return wholeNumber(
      decodeFunctionResult({ abi: storageRegistryAbi, functionName: 'version', data: result }),
      'version',
    )
  })
}

/** The hash of the member list of a version, for checking a certificate offline; zero for a version to come. */
export async function readMembershipHash(
  rpc: Rpc,
  registry: Address,
  what: { readonly version: number },
  options: Abortable,
): Promise<Uint8Array> {
  return read(registry, async () => {
    const args = [BigInt(what.version)] as const
    const data = encodeFunctionData({ abi: storageRegistryAbi, functionName: 'membershipHash', args })
    const result = await call(rpc, registry, data, options)
    return parseHex(result, { name: 'membershipHash', sizeBytesMax: 32 })
  })
}

/** The member that `owner` owns; `undefined` when it owns none. */
export async function readOwnMember(
  rpc: Rpc,
  registry: Address,
  owner: Address,
  options: Abortable,
): Promise<OwnMember | undefined> {
  return read(registry, async () => {
    const ask = encodeFunctionData({ abi: storageRegistryAbi, functionName: 'memberByOwner', args: [owner] })
    const id = decodeFunctionResult({
      abi: storageRegistryAbi,
      functionName: 'memberByOwner',
      data: await call(rpc, registry, ask, options),
    })
    if (id === 0) return undefined
    const data = encodeFunctionData({ abi: storageRegistryAbi, functionName: 'memberOf', args: [id] })
    const result = await call(rpc, registry, data, options)
    return ownMemberOf(decodeFunctionResult({ abi: storageRegistryAbi, functionName: 'memberOf', data: result }))
  })
}

/** What the registry asks: stake for one segment of weight, and how old a heartbeat may be. */
export async function readRegistryRules(
  rpc: Rpc,
  registry: Address,
  options: Abortable,
): Promise<{ readonly stakePerSegmentWei: bigint; readonly graceSeconds: number; readonly leaveDelaySeconds: number }> {
  return read(registry, async () => {
    const [stakePerSegmentWei, grace, delay] = await Promise.all(
      (['stakePerSegmentWei', 'graceSeconds', 'leaveDelaySeconds'] as const).map(async (functionName) => {
        const data = encodeFunctionData({ abi: storageRegistryAbi, functionName })
        return decodeFunctionResult({
          abi: storageRegistryAbi,
          functionName,
          data: await call(rpc, registry, data, options),
        })
      }),
    )
    return {
      stakePerSegmentWei: stakePerSegmentWei!,
      graceSeconds: wholeNumber(grace!, 'graceSeconds'),
      leaveDelaySeconds: wholeNumber(delay!, 'leaveDelaySeconds'),
    }
  })
}

/** Joins as an active member; the sender owns it and its stake. */
export function registerMember(
  transactor: Transactor,
  registry: Address,
  what: MemberDescription & { readonly stakeWei: bigint },
  options: SendOptions,
): Promise<MinedTransaction> {
  const { signer, endpoint, domain, capacitySegments, stakeWei } = what
  const args = [signer, endpoint, domain, capacitySegments] as const
  const data = encodeFunctionData({ abi: storageRegistryAbi, functionName: 'register', args })
  return transactor.send({ to: registry, data, valueWei: stakeWei }, options)
}

/** Replaces the description of an active member and adds `stakeWei` to its stake. */
export function updateMember(
  transactor: Transactor,
  registry: Address,
  what: MemberDescription & { readonly stakeWei?: bigint },
  options: SendOptions,
): Promise<MinedTransaction> {
  const { signer, endpoint, domain, capacitySegments, stakeWei = 0n } = what
  const args = [signer, endpoint, domain, capacitySegments] as const
  const data = encodeFunctionData({ abi: storageRegistryAbi, functionName: 'update', args })
  return transactor.send({ to: registry, data, valueWei: stakeWei }, options)
}

/** Says that the node lives; a stale member becomes active again. */
export function heartbeat(transactor: Transactor, registry: Address, options: SendOptions): Promise<MinedTransaction> {
  const data = encodeFunctionData({ abi: storageRegistryAbi, functionName: 'heartbeat' })
  return transactor.send({ to: registry, data, valueWei: 0n }, options)
}

/** Leaves the active set; `leaveMember` follows after the registry's delay. */
export function drainMember(
  transactor: Transactor,
  registry: Address,
  options: SendOptions,
): Promise<MinedTransaction> {
  const data = encodeFunctionData({ abi: storageRegistryAbi, functionName: 'drain' })
  return transactor.send({ to: registry, data, valueWei: 0n }, options)
}

/** Frees owner, signer and stake; the stake is then paid out by `withdrawStake`. */
export function leaveMember(
  transactor: Transactor,
  registry: Address,
  options: SendOptions,
): Promise<MinedTransaction> {
  const data = encodeFunctionData({ abi: storageRegistryAbi, functionName: 'leave' })
  return transactor.send({ to: registry, data, valueWei: 0n }, options)
}

export function withdrawStake(
  transactor: Transactor,
  registry: Address,
  options: SendOptions,
): Promise<MinedTransaction> {
  const data = encodeFunctionData({ abi: storageRegistryAbi, functionName: 'withdrawStake' })
  return transactor.send({ to: registry, data, valueWei: 0n }, options)
}

/** Stakes of members that `owner` owned and that have left, which `withdrawStake` pays out. */
export async function readWithdrawableStake(
  rpc: Rpc,
  registry: Address,
  owner: Address,
  options: Abortable,
): Promise<bigint> {
  return read(registry, async () => {
    const data = encodeFunctionData({
      abi: storageRegistryAbi,
      functionName: 'withdrawableStakeOf',
      args: [owner],
    })
    const result = await call(rpc, registry, data, options)
    return decodeFunctionResult({ abi: storageRegistryAbi, functionName: 'withdrawableStakeOf', data: result })
  })
}

/** Takes a member out of the active set whose heartbeat is older than the registry's grace. Anyone may. */
export function markStale(
  transactor: Transactor,
  registry: Address,
  what: { readonly id: number },
  options: SendOptions,
): Promise<MinedTransaction> {
  const data = encodeFunctionData({ abi: storageRegistryAbi, functionName: 'markStale', args: [what.id] })
  return transactor.send({ to: registry, data, valueWei: 0n }, options)
}

type RawMember = {
  readonly id: number
  readonly owner: Hex
  readonly signer: Hex
  readonly endpoint: string
  readonly domain: Hex
  readonly weight: bigint
  readonly capacitySegments: bigint
  readonly stake: bigint
  readonly lastHeartbeat: bigint
  readonly status: number
}

async function readList(rpc: Rpc, registry: Address, options: Abortable): Promise<readonly Member[]> {
  return read(registry, async () => (await readRaw(rpc, registry, options)).map(memberOf))
}

async function readRaw(rpc: Rpc, registry: Address, options: Abortable): Promise<readonly RawMember[]> {
  const data = encodeFunctionData({ abi: storageRegistryAbi, functionName: 'members' })
  const result = await call(rpc, registry, data, options)
  const list: readonly RawMember[] = decodeFunctionResult({
    abi: storageRegistryAbi,
    functionName: 'members',
    data: result,
  })
  if (list.length > MEMBERS_MAX)
    throw fail('REGISTRY_INVALID', { registry, memberCount: list.length, membersMax: MEMBERS_MAX })
  return list
}

function memberOf({ id, signer, endpoint, domain, weight }: RawMember): Member {
  return {
    id,
    signer: parseAddress(signer),
    endpoint,
    domain: toHex(parseHex(domain, { name: 'domain', sizeBytesMax: 32 })),
    weight,
  }
}

function ownMemberOf(raw: RawMember): OwnMember {
  return {
    ...memberOf(raw),
    owner: parseAddress(raw.owner),
    capacitySegments: raw.capacitySegments,
    stakeWei: raw.stake,
    lastHeartbeat: wholeNumber(raw.lastHeartbeat, 'lastHeartbeat'),
    status: STATUSES[raw.status] ?? 'none',
  }
}

/** What does not decode comes from something that is no registry. */
async function read<T>(registry: Address, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (cause) {
    // An endpoint that refuses, as one whose chain has stopped does, says nothing of the registry.
    if (
      isFailure(cause) &&
      !['RPC_ANSWER_INVALID', 'HEX_INVALID', 'ADDRESS_INVALID'].includes(cause.code) &&
      !isRevert(cause)
    )
      throw cause
    // Whatever the decoder says of bytes that are no answer of a registry, positions outside of them too.
    if (!isFailure(cause) && !(cause instanceof BaseError)) throw cause
    throw fail('REGISTRY_INVALID', { registry }, { cause })
  }
}

function wholeNumber(value: bigint, name: string): number {
  const number = Number(value)
  if (Number.isSafeInteger(number)) return number
  throw fail('REGISTRY_INVALID', { field: name, value })
}
