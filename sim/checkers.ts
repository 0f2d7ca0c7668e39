import { isFailure, type Certificate, type Root } from '@weightless/core'
import type { SimChain } from './chain.ts'
import { WrongAnswer } from './clients.ts'
import type { Trace } from './trace.ts'

/** Something that somebody was told is stored. */
export type Ack = {
  /** `durable`: holders signed. `spooled`: the gateway took every segment of an entry on chain. `finalized`: it says so. */
  readonly kind: 'durable' | 'spooled' | 'finalized'
  readonly by: string
  readonly root: Root
  readonly seq: number
  readonly bytes: Uint8Array
  readonly signers: readonly string[]
  /** Of an object under a code. */
  readonly certificate: Certificate | undefined
}

/** Remembers every promise, and says which were broken. */
export type Checker = {
  readonly acks: readonly Ack[]
  readonly violations: readonly string[]
  ack(ack: Ack): void
  /** Bytes that somebody got for an object, from `start` on; without `start` all of them. */
  yielded(where: string, ack: Ack, bytes: Uint8Array, range?: { readonly start: number; readonly end: number }): void
  /** The same where only the root was named: any object of that root will do. */
  yieldedOneOf(where: string, ack: Ack, bytes: Uint8Array): void
  violation(kind: string, text: string): void
  /** An error of no catalogue. */
  bug(event: string, error: unknown): void
  /** The same, of an operation: official clients throw plain errors. */
  userError(what: string, error: unknown): void
  isBroken(): boolean
}

export function createChecker(trace: Trace): Checker {
  const acks: Ack[] = []
  const violations: string[] = []
  const violation = (kind: string, text: string): void => {
    trace.add('VIOLATION', kind)
    trace.say('VIOLATION', kind, text)
    violations.push(`${kind}: ${text}`)
  }
  const isSame = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0
  return {
    acks,
    violations,
    violation,
    ack(ack) {
      trace.add('ack', ack.kind, ack.by, ack.root, ack.seq)
      acks.push(ack)
    },
    yielded(where, ack, bytes, range) {
      const stored = range === undefined ? ack.bytes : ack.bytes.subarray(range.start, range.end)
      if (!isSame(bytes, stored))
        violation(
          'wrong bytes',
          `${where}: ${bytes.length} bytes for ${ack.root.slice(0, 10)} that are not those ${stored.length} that were stored`,
        )
    },
    yieldedOneOf(where, ack, bytes) {
      if (!acks.some((other) => other.root === ack.root && isSame(bytes, other.bytes)))
        violation(
          'wrong bytes',
          `${where}: ${bytes.length} bytes for ${ack.root.slice(0, 10)} that nobody stored under this root`,
        )
    },
    bug(event, error) {
      if (isOfCatalogue(error)) return
      violation('bug', `${event}: ${error instanceof Error ? `${error.stack ?? error.message}` : String(error)}`)
    },
    userError(what, error) {
      if (error instanceof WrongAnswer) violation('wrong bytes', `${what}: ${error.message}`)
      else if (error instanceof ReferenceError || error instanceof RangeError)
        violation('bug', `${what}: ${error.stack}`)
    },
    isBroken: () => violations.length > 0,
  }
}

/** Failures, aborts, and what the simulated network throws as fetch does. */
function isOfCatalogue(error: unknown): boolean {
  if (error === undefined || isFailure(error)) return true
  if (error instanceof DOMException) return true
  return error instanceof TypeError && error.message === 'fetch failed'
}

/** All money is somewhere, and nobody paid for what he did not get. */
export function booksViolations(
  chain: SimChain,
  facts: {
    readonly stakesWei: bigint
    /** Entries on chain, and how often users have tried to add one. */
    readonly entryCount: number
    readonly triesMax: number
    readonly paidByGateway: number
    readonly paidByGatewayMax: number
  },
): readonly string[] {
  const { fundedWei, balances, surplus, stakesWei, feesWei, gasWei } = chain.books()
  const sum = (map: ReadonlyMap<string, bigint>): bigint => [...map.values()].reduce((all, wei) => all + wei, 0n)
  const found: string[] = []
  const total = sum(balances) + sum(surplus) + stakesWei + feesWei + gasWei
  if (total !== fundedWei) found.push(`${fundedWei} wei came in, ${total} are there`)
  for (const [address, wei] of balances) if (wei < 0n) found.push(`${address} has ${wei} wei`)
  if (stakesWei !== facts.stakesWei) found.push(`stakes are ${stakesWei} wei and not ${facts.stakesWei}`)
  if (facts.entryCount > facts.triesMax)
    found.push(`${facts.entryCount} entries were paid for in ${facts.triesMax} tries`)
  if (facts.paidByGateway > facts.paidByGatewayMax)
    found.push(`the gateway paid for ${facts.paidByGateway} parities of ${facts.paidByGatewayMax} files`)
  return found
}
