import type { Clock, Logger, Member, Net } from '@weightless/core'
import { isFailure } from '@weightless/core'
import { createStorageNodeClient, type StorageNodeClient } from '@weightless/sdk'

/** The storage nodes of the network, and which of them failed a short while ago. */
export type Peers = {
  /** `undefined` for a member whose endpoint is no URL. */
  of(member: Member): StorageNodeClient | undefined
  isAvoided(member: Member): boolean
  /** Remembers a failure, for a while whose length fits the fault. */
  failed(member: Member, error: unknown): void
  succeeded(member: Member): void
  /** What is known of it without asking. */
  standing(member: Member): Standing
}

/** `banned`: it served wrong bytes. `disconnected`: it did not answer. `unknown`: nobody had to ask it yet. */
export type Standing = {
  readonly state: 'connected' | 'disconnected' | 'banned' | 'unknown'
  readonly lastSeenMs: number | undefined
}

/** A node that did not answer may be restarting. */
const AVOID_MS = 5_000
/** Wrong bytes do not get right by waiting a moment. */
const AVOID_LIAR_MS = 600_000
/** Twice a full registry; the oldest is forgotten first. */
const PEERS_MAX = 512

const LIES: ReadonlySet<string> = new Set([
  'SEGMENT_PROOF_INVALID',
  'SEGMENT_SIZE_INVALID',
  'SEGMENT_INDEX_INVALID',
  'FRAME_INVALID',
  'RECEIPT_INVALID',
  'NODE_ANSWER_INVALID',
])
/** Answers of a node that is well: it does not know the entry yet, or does not have all of it. */
const HONEST: ReadonlySet<string> = new Set([
  'ENTRY_UNKNOWN',
  'ENTRY_INCOMPLETE',
  'SEGMENT_MISSING',
  'RECEIPT_UNAVAILABLE',
])

export function createPeers(deps: { readonly net: Net; readonly clock: Clock; readonly logger: Logger }): Peers {
  const { clock, logger } = deps
  const clients = new Map<string, StorageNodeClient | undefined>()
  const avoided = new Map<string, number>()
  const seen = new Map<string, number>()
  return {
    of({ endpoint }) {
      if (!clients.has(endpoint)) {
        if (clients.size >= PEERS_MAX) clients.delete(clients.keys().next().value!)
        clients.set(endpoint, clientOf(endpoint, deps))
      }
      return clients.get(endpoint)
    },
    isAvoided: ({ endpoint }) => (avoided.get(endpoint) ?? 0) > clock.nowMs(),
    failed(member, error) {
      const code = isFailure(error) ? error.code : 'unknown'
      if (HONEST.has(code)) return
      // What a node refuses of ours is not what it lies about: a line that damages bytes is not its fault (sim seed 487).
      const isRefusal = isFailure(error) && error.facts['status'] !== undefined
      const ms = LIES.has(code) && !isRefusal ? AVOID_LIAR_MS : AVOID_MS
      if (avoided.size >= PEERS_MAX) avoided.delete(avoided.keys().next().value!)
      avoided.set(member.endpoint, Math.max(avoided.get(member.endpoint) ?? 0, clock.nowMs() + ms))
      logger.warn('holder.avoided', { holder: member.id, endpoint: member.endpoint, code, ms })
    },
    succeeded({ endpoint }) {
      if (seen.size >= PEERS_MAX) seen.delete(seen.keys().next().value!)
      seen.set(endpoint, clock.nowMs())
      // A liar that answers is still a liar.
      if ((avoided.get(endpoint) ?? 0) - clock.nowMs() <= AVOID_MS) avoided.delete(endpoint)
    },
    standing({ endpoint }) {
      const lastSeenMs = seen.get(endpoint)
      const leftMs = (avoided.get(endpoint) ?? 0) - clock.nowMs()
      if (leftMs > AVOID_MS) return { state: 'banned', lastSeenMs }
      if (leftMs > 0) return { state: 'disconnected', lastSeenMs }
      return { state: lastSeenMs === undefined ? 'unknown' : 'connected', lastSeenMs }
    },
  }
}

function clientOf(endpoint: string, deps: { readonly net: Net; readonly clock: Clock }): StorageNodeClient | undefined {
  try {
    return createStorageNodeClient(endpoint, deps, { bodies: 'stream' })
  } catch {
    return undefined
  }
}
