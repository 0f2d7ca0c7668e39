/** Addresses, or alternatives of one topic, in the filter of a subscription: each log is compared with all of them. */
const ALTERNATIVES_MAX = 256
/** The EVM gives a log at most four. */
const TOPICS_MAX = 4

/** What a client of `eth_subscribe` wants to be told; `undefined` for parameters that name nothing we can tell. */
export function parseSubscription(params: readonly unknown[]): Subscription | undefined {
  const [kind, filter] = params
  if (kind === 'newHeads' || kind === 'newPendingTransactions')
    return params.length === 1 || filter === undefined || filter === null ? { kind } : undefined
  if (kind !== 'logs' && kind !== BLOCKS) return undefined
  const parsed = parseLogFilter(filter ?? {})
  return parsed === undefined ? undefined : { kind, filter: parsed }
}

/** Each new block with those of its logs that match, in one message: a follower that gets these has nothing to ask, so a block
 *  costs it one message. Ours alone; other endpoints refuse the name, and a follower then takes `newHeads`. */
export const BLOCKS = 'weightless_blocks'

export type Subscription =
  | { readonly kind: 'newHeads' | 'newPendingTransactions' }
  | { readonly kind: 'logs' | typeof BLOCKS; readonly filter: LogFilter }

/** `undefined` stands for anything. Hex in lower case. */
export type LogFilter = {
  readonly addresses: ReadonlySet<string> | undefined
  readonly topics: readonly (ReadonlySet<string> | undefined)[]
}
export type Log = { readonly address: string; readonly topics: readonly string[] }

export function matches(filter: LogFilter, log: Log): boolean {
  if (filter.addresses !== undefined && !filter.addresses.has(log.address.toLowerCase())) return false
  return filter.topics.every((wanted, i) => {
    if (wanted === undefined) return true
    const topic = log.topics[i]
    return topic !== undefined && wanted.has(topic.toLowerCase())
  })
}

function parseLogFilter(value: unknown): LogFilter | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  const { address, topics } = value as { readonly address?: unknown; readonly topics?: unknown }
  const addresses = isAny(address) ? undefined : parseSet(address, isAddress)
  if (addresses === 'invalid') return undefined
  if (topics === undefined || topics === null) return { addresses, topics: [] }
  if (!Array.isArray(topics) || topics.length > TOPICS_MAX) return undefined
  const wanted: (ReadonlySet<string> | undefined)[] = []
  for (const topic of topics as readonly unknown[]) {
    const set = isAny(topic) ? undefined : parseSet(topic, isTopic)
    if (set === 'invalid') return undefined
    wanted.push(set)
  }
  return { addresses, topics: wanted }
}

/** An empty list of alternatives stands for anything, as in geth. */
function isAny(value: unknown): boolean {
  return value === undefined || value === null || (Array.isArray(value) && value.length === 0)
}

function parseSet(value: unknown, isValid: (text: string) => boolean): ReadonlySet<string> | 'invalid' {
  const items: readonly unknown[] = Array.isArray(value) ? value : [value]
  if (items.length > ALTERNATIVES_MAX) return 'invalid'
  const set = new Set<string>()
  for (const item of items) {
    if (typeof item !== 'string' || !isValid(item)) return 'invalid'
    set.add(item.toLowerCase())
  }
  return set
}

function isTopic(text: string): boolean {
  return /^0x[0-9a-fA-F]{64}$/.test(text)
}

function isAddress(text: string): boolean {
  return /^0x[0-9a-fA-F]{40}$/.test(text)
}
