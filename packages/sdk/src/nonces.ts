import { invariant, type Abortable } from '@weightless/core'

/** One sequence per wallet in this process, however many clients use it: the pain of parallel uploads with one key
 *  ("nonce too low", "replacement transaction underpriced") is that everyone reads the same pending count. */
type Sequence = {
  readonly waiting: (() => void)[]
  isTaken: boolean
  /** Transactions sent and not yet settled. While there are some, their nonces count even if the endpoint has not seen them. */
  openCount: number
  next: number
}
const sequences = new Map<string, Sequence>()
/** Transactions this process has sent: tells whether a count that was read before the turn is still the last word. */
let usedCount = 0

/** Remember this before reading the pending count: while it stays the same, nobody here has sent anything since. */
export function nonceEpoch(): number {
  return usedCount
}

export type NonceTurn = {
  /** The nonce to use, given what the endpoint says is pending. */
  choose(pendingCount: number): number
  /** `nonce` is used now. Call the result when that transaction has settled, or is given up. */
  used(nonce: number): () => void
  /** The endpoint knows better: forget our own count. */
  forget(): void
}

/** Runs `work` alone among all senders of `wallet` in this process, in the order of arrival. A caller that aborts while
 *  waiting leaves the row. */
export async function inNonceTurn<T>(
  wallet: { readonly rpcUrl: string; readonly chainId: number; readonly address: string },
  work: (turn: NonceTurn) => Promise<T>,
  options: Abortable,
): Promise<T> {
  const key = `${wallet.rpcUrl} ${wallet.chainId} ${wallet.address}`
  const sequence = sequences.get(key) ?? { waiting: [], isTaken: false, openCount: 0, next: 0 }
  sequences.set(key, sequence)
  const { signal } = options
  try {
    await take(sequence, signal)
    try {
      return await work(turnOf(key, sequence))
    } finally {
      sequence.isTaken = false
      sequence.waiting.shift()?.()
    }
  } finally {
    dropIfIdle(key, sequence)
  }
}

async function take(sequence: Sequence, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted()
  if (!sequence.isTaken) {
    sequence.isTaken = true
    return
  }
  await new Promise<void>((resolve, reject) => {
    const enter = (): void => {
      signal?.removeEventListener('abort', leave)
      sequence.isTaken = true
      resolve()
    }
    const leave = (): void => {
      const at = sequence.waiting.indexOf(enter)
      if (at >= 0) sequence.waiting.splice(at, 1)
      reject(signal!.reason)
    }
    sequence.waiting.push(enter)
    signal?.addEventListener('abort', leave, { once: true })
  })
}

function turnOf(key: string, sequence: Sequence): NonceTurn {
  return {
    choose: (pendingCount) => (sequence.openCount > 0 ? Math.max(pendingCount, sequence.next) : pendingCount),
    used: (nonce) => {
      invariant(Number.isSafeInteger(nonce), 'a nonce is a whole number')
      usedCount += 1
      sequence.next = nonce + 1
      sequence.openCount += 1
      let isOpen = true
      return () => {
        if (!isOpen) return
        isOpen = false
        sequence.openCount -= 1
        dropIfIdle(key, sequence)
      }
    },
    forget: () => (sequence.next = 0),
  }
}

function dropIfIdle(key: string, sequence: Sequence): void {
  if (!sequence.isTaken && sequence.waiting.length === 0 && sequence.openCount === 0) sequences.delete(key)
}
