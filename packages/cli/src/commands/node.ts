import { setTimeout as sleep } from 'node:timers/promises'
import { isFailure } from '@weightless/core'
import type { Context } from '../context.ts'
import { fail } from '../errors.ts'
import type { NodeChange } from '../local/admin.ts'
import { openAdmin, type AdminClient } from '../local/adminClient.ts'
import { removalOf, type Removal } from '../local/removal.ts'
import { describeTime, type HandOffStatus, type NetworkStatus } from '../local/status.ts'
import { formatBytes } from '../print.ts'
import { createProgress } from '../progress.ts'

/** A new node starts and registers; a change of the registry takes a block. */
const CHANGE_SECONDS = 60
/** Longer than a terabyte takes over a fast line. */
const HAND_OFF_SECONDS = 3600
const WEI_PER_COIN = 1e18
const POLL_MS_MIN = 100
const POLL_MS_MAX = 1_000
/** Where there is no bar, a line so often. */
const NOTE_MS = 10_000

export async function nodeAddCommand(
  options: { readonly replace?: string; readonly timeout?: number },
  context: Context,
): Promise<void> {
  const { replace } = options
  const seconds = options.timeout ?? (replace === undefined ? CHANGE_SECONDS : HAND_OFF_SECONDS)
  const change = await within(seconds, context, async (admin, signal) => {
    const body = replace === undefined ? undefined : { replace }
    const added = await admin.request<NodeChange>('POST', '/v1/nodes', { signal, body })
    if (added.draining === undefined) return added
    const { draining: id, ...rest } = added
    const handOff = await untilSafe(id, { seconds, facts: { id, added: added.id } }, { admin, context, signal })
    const { withdrawnWei, leavesAtS } = await changeOf(admin, id, 'rm', { signal })
    return { ...rest, replaced: id, ...given({ handOff, withdrawnWei, leavesAtS }) }
  })
  context.printer.result(change, () =>
    change.replaced === undefined
      ? `${change.id} added at ${change.url}`
      : `${change.id} at ${change.url} takes the place of ${change.replaced}`,
  )
}

export async function nodeChangeCommand(
  verb: 'start' | 'stop',
  id: string,
  options: { readonly timeout: number },
  context: Context,
): Promise<void> {
  checkId(id)
  const change = await within(options.timeout, context, (admin, signal) => changeOf(admin, id, verb, { signal }))
  context.printer.result(change, () => `${change.id}: ${change.state}`)
}

/** A node that is down has nothing to say about what is left. */
export async function nodeDrainCommand(
  id: string,
  options: { readonly wait: boolean; readonly timeout: number },
  context: Context,
): Promise<void> {
  checkId(id)
  const { timeout: seconds } = options
  const change = await within<NodeChange>(seconds, context, async (admin, signal) => {
    const drained = await changeOf(admin, id, 'drain', { signal })
    if (!options.wait || drained.pid === null) return drained
    const handOff = await untilSafe(id, { seconds, facts: { id } }, { admin, context, signal })
    return { ...drained, ...given({ handOff }) }
  })
  context.printer.result(change, () =>
    change.handOff === undefined
      ? `${change.id}: ${change.state}`
      : `${change.id}: drained, safe to remove (weightless node rm ${change.id})`,
  )
}

export async function nodeRemoveCommand(
  id: string,
  options: { readonly force: boolean; readonly timeout: number },
  context: Context,
): Promise<void> {
  checkId(id)
  const { timeout: seconds, force } = options
  const change = await within<NodeChange>(seconds, context, async (admin, signal) => {
    if (force) return await changeOf(admin, id, 'rm', { signal, body: { force } })
    await changeOf(admin, id, 'drain', { signal })
    const handOff = await untilSafe(id, { seconds, facts: { id } }, { admin, context, signal })
    return { ...(await changeOf(admin, id, 'rm', { signal })), ...given({ handOff }) }
  })
  context.printer.result(change, () => `${change.id}: ${change.state}${describeStake(change)}`)
}

function describeStake({ withdrawnWei, leavesAtS }: NodeChange): string {
  if (withdrawnWei !== undefined) return `, its stake of ${Number(withdrawnWei) / WEI_PER_COIN} is withdrawn`
  return leavesAtS === undefined ? '' : `, leaves the registry ${describeTime(leavesAtS)}; its stake follows then`
}

/** Polls, so that no request is held open and whatever ends this command leaves the drain going. */
async function untilSafe(
  id: string,
  what: { readonly seconds: number; readonly facts: { readonly id: string; readonly added?: string } },
  { admin, context, signal }: { admin: AdminClient; context: Context; signal: AbortSignal },
): Promise<HandOffStatus | null> {
  const progress = createProgress(context.io.stderr)
  let removal: Removal = { kind: 'moving', handOff: null }
  let pollMs = POLL_MS_MIN
  let notedMs = performance.now()
  try {
    for (;;) {
      removal = removalOf(await admin.request<NetworkStatus>('GET', '/v1/status', { signal }), id)
      if (removal.kind === 'safe') return removal.handOff
      if (removal.kind === 'needed') {
        const { lostBytes, unavailableEntryCount } = removal
        throw fail('NODE_DATA_NEEDED', { ...what.facts, lostBytes, unavailableEntryCount })
      }
      if (removal.kind === 'stuck') throw fail('NODE_DRAIN_STUCK', { ...what.facts, ...amountsOf(removal) })
      const { leftBytes = 0, handedOffBytes = 0 } = removal.handOff ?? {}
      progress.update(handedOffBytes, handedOffBytes + leftBytes, `${id} hands off`)
      if (context.io.stderr.isTTY !== true && performance.now() - notedMs > NOTE_MS) {
        notedMs = performance.now()
        context.printer.note(`${id}: ${formatBytes(leftBytes)} to hand off`)
      }
      await sleep(pollMs, undefined, { signal })
      pollMs = Math.min(POLL_MS_MAX, 2 * pollMs)
    }
  } catch (error) {
    if (context.signal.aborted || !signal.aborted) throw error
    const facts = { ...what.facts, seconds: what.seconds, ...amountsOf(removal) }
    throw fail('NODE_DRAIN_UNFINISHED', facts, { cause: error })
  } finally {
    progress.stop()
  }
}

function amountsOf(removal: Removal): { readonly leftBytes?: number; readonly homelessBytes?: number } {
  if (removal.kind === 'needed' || removal.handOff === null) return {}
  const { leftBytes, homelessBytes } = removal.handOff
  return { leftBytes, homelessBytes }
}

/** What is known of these. */
function given(fields: {
  readonly handOff?: HandOffStatus | null
  readonly withdrawnWei?: string | undefined
  readonly leavesAtS?: number | null | undefined
}): Pick<NodeChange, 'handOff' | 'withdrawnWei' | 'leavesAtS'> {
  const { handOff, withdrawnWei, leavesAtS } = fields
  return {
    ...(handOff ? { handOff } : {}),
    ...(withdrawnWei === undefined ? {} : { withdrawnWei }),
    ...(leavesAtS === undefined ? {} : { leavesAtS }),
  }
}

function checkId(id: string): void {
  if (!/^[a-z0-9-]{1,64}$/.test(id)) throw fail('NODE_UNKNOWN', { id: id.slice(0, 64) })
}

function changeOf(
  admin: AdminClient,
  id: string,
  verb: string,
  options: { readonly signal: AbortSignal; readonly body?: unknown },
): Promise<NodeChange> {
  return admin.request('POST', `/v1/nodes/${id}/${verb}`, options)
}

async function within<T>(
  seconds: number,
  context: Context,
  work: (admin: AdminClient, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const admin = await openAdmin(context.dir)
  if (admin === undefined) throw fail('NETWORK_DOWN', { dir: context.dir })
  const deadline = AbortSignal.timeout(seconds * 1000)
  try {
    return await work(admin, AbortSignal.any([context.signal, deadline]))
  } catch (error) {
    if (context.signal.aborted) throw context.signal.reason
    if (deadline.aborted && !isFailure(error, 'NODE_DRAIN_UNFINISHED'))
      throw fail('TIMED_OUT', { seconds }, { cause: error })
    throw error
  }
}
