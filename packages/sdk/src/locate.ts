import { isFailure, REPLICA_COUNT, type Abortable, type Root } from '@weightless/core'
import type { Client } from './client.ts'
import type { Contact } from './contacts.ts'
import { readEntry } from './entryOnChain.ts'
import { fail } from './errors.ts'
import { askingOrder, listFailures, placementOf, type NodeFailure } from './holders.ts'
import { childScope } from './scope.ts'
import { readableBy, surveyOf, type Answer, type Survey } from './survey.ts'
import type { HeldEntry } from './storageNodeClient.ts'

/** What to read. A root does not commit to the size (contents that differ in trailing zeros share one): only a sequence number,
 *  or the size that the caller knows, makes it exact. */
export type ObjectAddress = {
  readonly root: Root
  readonly seq: number | undefined
  readonly sizeBytes: number | undefined
}

/** An object whose size is certain, and the nodes to ask for it in order. */
export type Located = {
  readonly root: Root
  readonly seq: number | undefined
  readonly sizeBytes: number
  readonly candidates: readonly Candidate[]
  /** What nodes have of it by shards, where none that was asked has it whole. */
  readonly survey: Survey | undefined
}
/** `isHome`: placement says that it should hold the object. */
export type Candidate = { readonly contact: Contact; readonly isHome: boolean }

/** Nodes asked about one object: homes, and those that were homes before the membership changed. */
const NODES_ASKED_MAX = 32
const LOOKUP_WINDOW = 4
/** A small answer from memory; whoever needs longer is not waited for. */
const LOOKUP_TIMEOUT_MS = 4_000
/** All that are needed to decode have answered: those that would save the decoding are given this long. */
const DECODE_GRACE_MS = 300
/** Each check of an entry is a request to the chain. */
const CHECKS_PER_NODE_MAX = 4

/** Finds an entry of that root and proves its size by the chain, unless the caller knows the size. Of several entries it takes
 *  the first complete one. Throws `OBJECT_UNKNOWN`, `OBJECT_UNAVAILABLE`, `SIZE_UNPROVEN`. */
export async function locate(client: Client, address: ObjectAddress, options: Abortable): Promise<Located> {
  const { root } = address
  const everybody = candidatesOf(client, root, (await client.membership.read(options)).members)
  const candidates = everybody.slice(0, NODES_ASKED_MAX)
  if (address.sizeBytes !== undefined)
    return { root, seq: address.seq, sizeBytes: address.sizeBytes, candidates, survey: undefined }
  const scope = childScope(options.signal)
  const queue = [...candidates]
  const rest = everybody.slice(NODES_ASKED_MAX)
  const answers: Answer[] = []
  const failures: NodeFailure[] = []
  let complete: HeldEntry | undefined
  let partial: HeldEntry | undefined
  let broken: unknown
  let isWaiting = false
  const worker = async (): Promise<void> => {
    for (
      let next = queue.shift();
      next !== undefined && complete === undefined && broken === undefined;
      next = queue.shift()
    ) {
      const { contact } = next
      try {
        const known = await contact.node.entries(root, { signal: scope.signal, timeoutMs: LOOKUP_TIMEOUT_MS })
        const proven = await firstProven(client, address, known, contact, scope.signal)
        answers.push({ contact, known })
        if (proven?.complete === true) complete ??= proven
        else partial ??= proven
        // An object under a code may have more homes than a few copies.
        if (known.some(({ parities }) => parities.length > 0)) queue.push(...rest.splice(0))
        const readable =
          partial === undefined ? 'not' : readableBy(surveyOf(partial.sizeBytes, answers, { isComplete: false }))
        if (complete === undefined && readable === 'directly') scope.end()
        if (complete === undefined && readable === 'decoded' && !isWaiting) {
          isWaiting = true
          client.deps.clock.sleep(DECODE_GRACE_MS, { signal: scope.signal }).then(scope.end, () => undefined)
        }
      } catch (error) {
        if (scope.signal.aborted) return
        // The chain is not a node that another one could stand in for.
        if (isChainFault(error)) broken = error
        contact.failed(error)
        failures.push({ node: contact.url, error })
      }
      if (complete !== undefined || broken !== undefined) scope.end()
    }
  }
  try {
    await Promise.all(Array.from({ length: LOOKUP_WINDOW }, worker))
    options.signal?.throwIfAborted()
  } finally {
    scope.end()
  }
  const entry = complete ?? partial
  if (entry !== undefined) {
    const { seq, sizeBytes } = entry
    const survey = complete === undefined ? surveyOf(sizeBytes, answers, { isComplete: false }) : undefined
    return { root, seq, sizeBytes, candidates, survey }
  }
  if (broken !== undefined) throw broken
  throw notFound(address, everybody.length - rest.length, failures)
}

/** Everybody who may hold the object: homes first, those that failed lately last. */
export function candidatesOf(
  client: Client,
  root: Root,
  members: Parameters<typeof placementOf>[1]['members'],
): readonly Candidate[] {
  const placement = placementOf(root, { version: 0, members }, REPLICA_COUNT)
  const candidates: Candidate[] = []
  for (const [rank, member] of askingOrder(placement).entries()) {
    try {
      candidates.push({ contact: client.contacts.of(member.endpoint), isHome: rank < placement.needed })
    } catch {
      // An endpoint that is no URL: nobody can be asked there.
    }
  }
  return [
    ...candidates.filter(({ contact }) => !contact.isAvoided()),
    ...candidates.filter(({ contact }) => contact.isAvoided()),
  ]
}

async function firstProven(
  client: Client,
  address: ObjectAddress,
  known: readonly HeldEntry[],
  contact: Contact,
  signal: AbortSignal,
): Promise<HeldEntry | undefined> {
  const wanted = known
    .filter(({ seq }) => address.seq === undefined || seq === address.seq)
    .sort((a, b) => Number(b.complete) - Number(a.complete) || a.seq - b.seq)
  for (const held of wanted.slice(0, CHECKS_PER_NODE_MAX)) {
    const { txHash, seq } = held
    const entry = await readEntry(client.rpc, { flow: client.network.flow, txHash, seq }, { signal })
    if (entry?.root === address.root && entry.sizeBytes === held.sizeBytes) return held
    const error = fail('SIZE_UNPROVEN', {
      root: address.root,
      node: contact.url,
      seq,
      txHash,
      sizeBytes: held.sizeBytes,
    })
    contact.failed(error)
    throw error
  }
  return undefined
}

function isChainFault(error: unknown): boolean {
  return (
    isFailure(error) &&
    (error.code.startsWith('RPC_') ||
      error.code === 'LOG_INVALID' ||
      error.facts['what'] === 'eth_getTransactionReceipt')
  )
}

function notFound({ root, seq }: ObjectAddress, asked: number, failures: readonly NodeFailure[]): Error {
  const unproven = failures.find(({ error }) => isFailure(error, 'SIZE_UNPROVEN'))
  if (unproven !== undefined) return unproven.error as Error
  if (failures.length === 0) return fail('OBJECT_UNKNOWN', { root, seq, asked })
  return fail('OBJECT_UNAVAILABLE', { root, seq, asked, failures: listFailures(failures) })
}
