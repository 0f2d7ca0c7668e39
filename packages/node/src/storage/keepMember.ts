import type { Clock, Failure, Logger, Member } from '@weightless/core'
import { areFundsLow, isFailure } from '@weightless/core'
import { heartbeat, markStale, readActiveMembers, readRegistryRules, type OwnMember } from '@weightless/sdk'
import type { Follower, TimedHead } from '../flow/follow.ts'
import type { Peers } from '../peers/peers.ts'
import { isHeartbeatDue, MARK_BLOCKS_PER_RANK, markerRank, silentMembers, watchOn, type Watch } from './liveness.ts'
import { ensureRegistered, type RegistrationDeps, type RegistrationOptions } from './registration.ts'

/** What a node does to be counted on, and about members that are not there any more. It has no timers: it acts when a block comes. */
export type MemberKeeper = {
  /** Runs until `signal` aborts. Throws `REGISTRATION_FAILED` when the node never became a member. */
  run(options: { readonly signal: AbortSignal }): Promise<void>
  standing(): MemberStanding
}

export type MemberStanding = {
  readonly id: number | undefined
  readonly status: 'joining' | OwnMember['status']
  /** Unix seconds, by the chain. */
  readonly lastHeartbeatS: number | undefined
  /** What the account of the node pays for, by what it paid of late; `undefined` while that is not known. */
  readonly heartbeatsLeft: number | undefined
  /** Why its last transaction failed. */
  readonly fault: Failure | undefined
}

export type MemberKeeperDeps = RegistrationDeps & {
  readonly follower: Pick<Follower, 'membership' | 'onHead'>
  readonly peers: Pick<Peers, 'of'>
  readonly clock: Clock
  readonly logger: Logger
}

/** A silent member is asked before it is marked: one that is frozen does not answer in this time either. */
const PROBE_MS_MAX = 3_000
/** A heartbeat that no block takes for so long is given up, and the next one follows. */
const MINED_MS_MAX = 60_000
/** Heartbeats between two looks at the balance. */
const HEARTBEATS_PER_LOOK = 16

export function createMemberKeeper(options: RegistrationOptions, deps: MemberKeeperDeps): MemberKeeper {
  const { registry, signer } = options
  const { rpc, transactor, follower, logger } = deps
  const funds = createFunds(options, deps)
  let own: OwnMember | undefined
  let lastHeartbeatS: number | undefined
  let lastTryS: number | undefined
  let fault: Failure | undefined

  async function run({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    using heads = newestHeads(follower)
    for (;;) {
      own = await register(heads, signal)
      fault = undefined
      lastHeartbeatS = own.lastHeartbeat
      logger.info('member.standing', {
        id: own.id,
        status: own.status,
        registryVersion: follower.membership.current().version,
      })
      await live(own, heads, signal)
      logger.warn('registration.lost', { signer })
    }
  }

  /** A node that was never a member ends with the reason; one that was serves what it has, and tries again with the next block. */
  async function register(heads: Heads, signal: AbortSignal): Promise<OwnMember> {
    for (;;) {
      try {
        return await ensureRegistered(options, deps, { signal })
      } catch (error) {
        signal.throwIfAborted()
        const isMember = own !== undefined || (isFailure(error) && error.facts['status'] !== undefined)
        if (!isFailure(error) || !isMember) throw error
        fault = error.cause instanceof Error && isFailure(error.cause) ? error.cause : error
        logger.warn('registration.failed', { error })
      }
      await heads.next({ signal })
    }
  }

  /** Speaks and listens until the registry no longer counts this node as it was. */
  async function live(member: OwnMember, heads: Heads, signal: AbortSignal): Promise<void> {
    const { graceSeconds: graceS } = await rulesOf(heads, signal)
    const watcher = createWatcher({ registry, signer, graceS }, deps)
    const isActive = (): boolean => follower.membership.activeSince(signer) !== undefined
    // Before the first head the log may not be read as far as the registration.
    let wasActive = false
    const speaks = member.status === 'active'
    for (;;) {
      const head = await heads.next({ signal })
      if (wasActive && !isActive()) return
      // A reorganisation took its drain back.
      if (!speaks && isActive()) return
      wasActive = isActive()
      if (!speaks) continue
      const at = { headTimeS: head.timeS, lastHeartbeatS: lastHeartbeatS!, lastTryS, graceS }
      if (isHeartbeatDue(at) && (await speak(head, signal)) === 'refused') return
      await watcher.look(head, { signal })
    }
  }

  async function rulesOf(heads: Heads, signal: AbortSignal): ReturnType<typeof readRegistryRules> {
    for (;;) {
      try {
        return await readRegistryRules(rpc, registry, { signal })
      } catch (error) {
        signal.throwIfAborted()
        if (!isFailure(error)) throw error
        logger.warn('registry.unread', { error })
      }
      await heads.next({ signal })
    }
  }

  async function speak(head: TimedHead, signal: AbortSignal): Promise<'spoken' | 'failed' | 'refused'> {
    lastTryS = head.timeS
    try {
      const { txHash } = await heartbeat(transactor, registry, { signal, timeoutMs: MINED_MS_MAX })
      // The block that took it is no older than the one that it answers.
      lastHeartbeatS = head.timeS
      fault = undefined
      logger.debug('heartbeat.sent', { block: head.number, txHash })
      await funds.spoken({ signal })
      return 'spoken'
    } catch (error) {
      signal.throwIfAborted()
      if (!isFailure(error)) throw error
      // It drains, or has left: what it is now is read anew.
      if (error.code === 'TX_REVERTED') return 'refused'
      fault = error
      logger.warn('heartbeat.failed', { block: head.number, error })
      return 'failed'
    }
  }

  return {
    run,
    standing: () => ({
      id: own?.id,
      status: standingOf(own, follower.membership.activeSince(signer) !== undefined),
      lastHeartbeatS,
      heartbeatsLeft: funds.heartbeatsLeft(),
      fault,
    }),
  }
}

function standingOf(own: OwnMember | undefined, isActive: boolean): MemberStanding['status'] {
  if (own === undefined) return 'joining'
  return own.status === 'active' && !isActive ? 'stale' : own.status
}

type Heads = Disposable & { next(options: { readonly signal: AbortSignal }): Promise<TimedHead> }

/** The newest block each time there is one; those that came while the last one was worked on are one. */
function newestHeads(follower: Pick<Follower, 'onHead'>): Heads {
  let newest: TimedHead | undefined
  let wake: () => void = () => undefined
  const end = follower.onHead((head) => {
    newest = head
    wake()
  })
  return {
    async next({ signal }) {
      const onAbort = (): void => wake()
      signal.addEventListener('abort', onAbort, { once: true })
      try {
        for (;;) {
          signal.throwIfAborted()
          const head = newest
          newest = undefined
          if (head !== undefined) return head
          await new Promise<void>((resolve) => (wake = resolve))
        }
      } finally {
        signal.removeEventListener('abort', onAbort)
      }
    },
    [Symbol.dispose]: end,
  }
}

type WatcherOptions = Pick<RegistrationOptions, 'registry' | 'signer'> & { readonly graceS: number }

/** Marks members stale that have gone. */
function createWatcher(
  { registry, signer, graceS }: WatcherOptions,
  deps: MemberKeeperDeps,
): { look(head: TimedHead, options: { readonly signal: AbortSignal }): Promise<void> } {
  const { rpc, transactor, follower, peers, logger } = deps
  let watch: Watch | undefined
  let book: { readonly readS: number; readonly heartbeats: ReadonlyMap<number, number> } | undefined
  /** Silent members that did not answer either, and the block at which that was found out. */
  const gone = new Map<number, number>()

  async function look(head: TimedHead, { signal }: { readonly signal: AbortSignal }): Promise<void> {
    watch = watchOn(watch, head.timeS, graceS)
    const { members, version } = follower.membership.current()
    const self = members.find((member) => member.signer === signer)
    const others = members.filter((member) => member !== self)
    for (const id of gone.keys()) if (!others.some((member) => member.id === id)) gone.delete(id)
    if (self === undefined || head.timeS - watch.sinceS < graceS) return
    try {
      if (needsReading(others, head)) {
        await read(head, signal)
        for (const member of silent(others)) {
          if (gone.has(member.id) || (await answers(member, signal))) continue
          logger.warn('member.silent', { id: member.id, endpoint: member.endpoint, block: head.number })
          gone.set(member.id, head.number)
        }
      }
      for (const member of others) {
        const sinceBlock = gone.get(member.id)
        if (sinceBlock === undefined) continue
        const rank = markerRank({ id: member.id, version }, self, members) ?? members.length
        if (head.number >= sinceBlock + rank * MARK_BLOCKS_PER_RANK) await mark(member, head, signal)
      }
    } catch (error) {
      signal.throwIfAborted()
      if (!isFailure(error)) throw error
      logger.warn('members.unwatched', { block: head.number, error })
    }
  }

  const silent = (others: readonly Member[]): readonly Member[] =>
    book === undefined ? [] : silentMembers({ watch: watch!, graceS, members: others, heartbeats: book.heartbeats })

  /** The registry is asked only when somebody may be silent by what is known: once a minute in a network that is well. */
  function needsReading(others: readonly Member[], head: TimedHead): boolean {
    if (book === undefined) return others.length > 0
    if (Math.abs(head.timeS - book.readS) < graceS / 2) return false
    const { heartbeats } = book
    return silent(others).length > 0 || others.some(({ id }) => !heartbeats.has(id))
  }

  async function read(head: TimedHead, signal: AbortSignal): Promise<void> {
    const members = await readActiveMembers(rpc, registry, { signal })
    book = { readS: head.timeS, heartbeats: new Map(members.map((one) => [one.id, one.lastHeartbeat])) }
    for (const id of gone.keys())
      if (!silent(follower.membership.current().members).some((one) => one.id === id)) gone.delete(id)
  }

  /** Whether the node itself answers at its endpoint; another one that has its address by now does not count. */
  async function answers(member: Member, signal: AbortSignal): Promise<boolean> {
    try {
      const status = await peers.of(member)?.status({ signal, timeoutMs: PROBE_MS_MAX })
      return status?.signer === member.signer
    } catch (error) {
      signal.throwIfAborted()
      if (!isFailure(error)) throw error
      return false
    }
  }

  async function mark(member: Member, head: TimedHead, signal: AbortSignal): Promise<void> {
    // It may have spoken, or be marked, since it was found to be gone.
    await read(head, signal)
    if (!gone.has(member.id)) return
    if (await answers(member, signal)) return void gone.delete(member.id)
    // Whatever comes of it, the next try is one for the others first.
    gone.set(member.id, head.number)
    try {
      await markStale(transactor, registry, { id: member.id }, { signal, timeoutMs: MINED_MS_MAX })
      logger.warn('member.markedStale', { id: member.id, endpoint: member.endpoint, block: head.number })
    } catch (error) {
      signal.throwIfAborted()
      if (!isFailure(error, 'TX_REVERTED')) throw error
      logger.info('member.notMarked', { id: member.id, reason: error.facts['reason'] })
    }
  }

  return { look }
}

/** How long the coins of the node last, by what it paid between two looks. */
function createFunds(
  { signer }: Pick<RegistrationOptions, 'signer'>,
  { rpc, transactor, logger }: MemberKeeperDeps,
): { spoken(options: { readonly signal: AbortSignal }): Promise<void>; heartbeatsLeft(): number | undefined } {
  let balanceWei: bigint | undefined
  let costWei: bigint | undefined
  let count = 0
  const heartbeatsLeft = (): number | undefined =>
    balanceWei === undefined || costWei === undefined ? undefined : Number(balanceWei / costWei)
  return {
    heartbeatsLeft,
    async spoken({ signal }) {
      if (balanceWei !== undefined && ++count < HEARTBEATS_PER_LOOK) return
      const answer = await rpc.request('eth_getBalance', [await transactor.address({ signal }), 'latest'], { signal })
      if (typeof answer !== 'string') return
      const nowWei = BigInt(answer)
      // Somebody may have sent some in between: then the old price stands.
      if (balanceWei !== undefined && nowWei < balanceWei) costWei = (balanceWei - nowWei) / BigInt(count) || 1n
      balanceWei = nowWei
      count = 0
      const left = heartbeatsLeft()
      if (areFundsLow(left)) logger.warn('funds.low', { signer, heartbeatsLeft: left })
    },
  }
}
