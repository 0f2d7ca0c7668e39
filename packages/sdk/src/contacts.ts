import {
  isFailure,
  type Abortable,
  type Address,
  type Clock,
  type Failure,
  type Logger,
  type Member,
  type Net,
} from '@weightless/core'
import { fail } from './errors.ts'
import { shared } from './scope.ts'
import {
  createStorageNodeClient,
  type NodeStatus,
  type StorageNodeClient,
  type StorageNodeClientOptions,
} from './storageNodeClient.ts'

/** The storage nodes a client has met: one connection each, what it said of itself, and whether it failed lately. */
export type Contacts = {
  /** Throws `NODE_ANSWER_INVALID` for an endpoint that is no http(s) URL. */
  of(endpoint: string): Contact
}
export type Contact = {
  readonly url: string
  readonly node: StorageNodeClient
  /** The node's status, checked against our network, and cached while fresh. Throws `NETWORK_MISMATCH`, or what the request
   *  throws. `timeoutMs`: three seconds by default. */
  status(options: Abortable & { readonly timeoutMs?: number }): Promise<NodeStatus>
  /** It failed a short while ago: ask others first. */
  isAvoided(): boolean
  /** It did not answer, or answered wrong. Errors that are nobody's fault change nothing. */
  failed(error: unknown): void
  succeeded(): void
}

/** The contacts of these members; without those whose endpoint is no URL, where nobody can be asked. */
export function contactsOf(contacts: Contacts, members: readonly Member[]): readonly Contact[] {
  return members.flatMap(({ endpoint }) => {
    try {
      return [contacts.of(endpoint)]
    } catch {
      return []
    }
  })
}

type ContactDeps = { readonly net: Net; readonly clock: Clock; readonly logger: Logger }

/** A node says where it is at most this often: its disk may fill up, its network never changes. */
const STATUS_FRESH_MS = 15_000
/** Long enough not to wait for a dead node twice in one upload, short enough to notice its return. */
const AVOID_MS = 20_000
/** A node that served wrong bytes has a fault that does not pass in seconds. */
const AVOID_LIAR_MS = 600_000
/** A node that hangs is not waited for longer before anything is sent. */
const STATUS_TIMEOUT_MS = 3_000
/** Twice the members of a full registry; the oldest is forgotten first. */
const CONTACTS_MAX = 512

export function createContacts(
  network: { readonly chainId: number; readonly flow: Address },
  deps: ContactDeps,
  options: StorageNodeClientOptions = {},
): Contacts {
  const contacts = new Map<string, Contact>()
  return {
    of: (endpoint) => {
      const known = contacts.get(endpoint)
      if (known !== undefined) return known
      const contact = createContact(endpoint, network, deps, options)
      contacts.set(endpoint, contact)
      if (contacts.size > CONTACTS_MAX) contacts.delete(contacts.keys().next().value!)
      return contact
    },
  }
}

function createContact(
  endpoint: string,
  network: { readonly chainId: number; readonly flow: Address },
  deps: ContactDeps,
  options: StorageNodeClientOptions,
): Contact {
  const { clock, logger } = deps
  const node = clientOf(endpoint, deps, options)
  let avoidUntilMs = 0
  let cached: { readonly status: NodeStatus; readonly untilMs: number } | undefined
  const ask = shared(async (signal, timeoutMs: number) => {
    const status = await node.status({ signal, timeoutMs })
    checkStatus(status, network, node.url)
    cached = { status, untilMs: clock.nowMs() + STATUS_FRESH_MS }
    return status
  })
  return {
    url: node.url,
    node,
    status: async ({ signal, timeoutMs = STATUS_TIMEOUT_MS }) => {
      signal?.throwIfAborted()
      if (cached !== undefined && clock.nowMs() < cached.untilMs) return cached.status
      return ask({ signal }, timeoutMs)
    },
    isAvoided: () => clock.nowMs() < avoidUntilMs,
    failed: (error) => {
      if (!isFailure(error)) return
      if (error.blame !== 'peer' && !isFailure(error, 'DEADLINE_PASSED') && !isFailure(error, 'NETWORK_MISMATCH'))
        return
      // What a node refuses of ours is not what it lies about: a line that damages bytes is not its fault (sim seed 487).
      const isLiar = LIES.has(error.code) && error.facts['status'] === undefined
      const untilMs = clock.nowMs() + (isLiar ? AVOID_LIAR_MS : AVOID_MS)
      if (untilMs > avoidUntilMs)
        logger.warn('holder.avoided', { node: node.url, code: error.code, ms: isLiar ? AVOID_LIAR_MS : AVOID_MS })
      avoidUntilMs = Math.max(avoidUntilMs, untilMs)
      cached = undefined
    },
    succeeded: () => {
      // A liar that answers is still a liar.
      if (avoidUntilMs - clock.nowMs() <= AVOID_MS) avoidUntilMs = 0
    },
  }
}

/** Answers that no honest node of our network gives. */
const LIES: ReadonlySet<string> = new Set([
  'SEGMENT_PROOF_INVALID',
  'SEGMENT_SIZE_INVALID',
  'SEGMENT_INDEX_INVALID',
  'FRAME_INVALID',
  'RECEIPT_INVALID',
  'NODE_ANSWER_INVALID',
  'SIZE_UNPROVEN',
])

/** The endpoint is what some member wrote into the registry: if it is no URL, that member is at fault and nobody else. */
function clientOf(
  endpoint: string,
  deps: { readonly net: Net; readonly clock: Clock },
  options: StorageNodeClientOptions,
): StorageNodeClient {
  try {
    return createStorageNodeClient(endpoint, deps, options)
  } catch (cause) {
    throw fail(
      'NODE_ANSWER_INVALID',
      { endpoint: endpoint.slice(0, 80), reason: 'the endpoint is no http(s) URL' },
      { cause },
    )
  }
}

function checkStatus(
  status: NodeStatus,
  network: { readonly chainId: number; readonly flow: Address },
  node: string,
): void {
  const mismatch = (what: string, expected: string | number, actual: string | number): Failure =>
    fail('NETWORK_MISMATCH', { what, expected, actual, node })
  if (status.chainId !== network.chainId) throw mismatch('chain id of the node', network.chainId, status.chainId)
  if (status.flow !== network.flow) throw mismatch('flow address of the node', network.flow, status.flow)
}
