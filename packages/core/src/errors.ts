/** What an error asks of the caller. `blame` decides who is avoided afterwards, `retryable` decides `retry()`. */
export type ErrorKind = {
  readonly retryable: boolean
  readonly blame: 'caller' | 'peer' | 'self' | 'none'
  /** The next step, one sentence for a person. */
  readonly next: string
}
export type Catalogue = { readonly [code: string]: ErrorKind }
export type Facts = { readonly [name: string]: string | number | bigint | boolean | null | undefined }

const marker = Symbol.for('weightless.failure')

/** The one error class of the project: a code, the facts, and the next step. Identity is by marker: two copies of this
 *  module may meet in one process. */
export class Failure extends Error {
  readonly code: string
  readonly facts: Facts
  readonly retryable: boolean
  readonly blame: ErrorKind['blame']
  readonly next: string

  constructor(code: string, kind: ErrorKind, facts: Facts, options: { readonly cause?: unknown } = {}) {
    const listed = Object.entries(facts)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => `${name}=${String(value)}`)
      .join(' ')
    super(`${code}: ${listed}${listed ? '. ' : ''}Next: ${kind.next}`, options)
    this.name = 'Failure'
    this.code = code
    this.facts = facts
    this.retryable = kind.retryable
    this.blame = kind.blame
    this.next = kind.next
    Object.defineProperty(this, marker, { value: true })
  }

  toJSON(): { code: string; message: string; facts: Facts; next: string; retryable: boolean } {
    return {
      code: this.code,
      message: this.message,
      facts: stringifyBigints(this.facts),
      next: this.next,
      retryable: this.retryable,
    }
  }
}

/** What a stranger may see of a failure (DESIGN D14). Those of the machine name its files, and its own words for what went wrong
 *  with them: on the wire they keep their code, their numbers and the next step. The log has them whole. */
export function forStrangers(failure: Failure): Failure {
  if (!OF_THE_MACHINE.test(failure.code)) return failure
  const facts = Object.entries(failure.facts).filter(([name, fact]) => typeof fact !== 'string' || name === 'root')
  return new Failure(failure.code, failure, Object.fromEntries(facts))
}

/** The first words of the codes by which `host`, the store and the engine of the chain speak of files, disks and keys. */
const OF_THE_MACHINE =
  /^(DISK|DIRECTORY|FILE|INDEX|KEY|STORE|TOML|LISTEN|PORT|CONFIG|CHAIN_STATE|CHAIN_START|CHAIN_DIRECTORY)_/

/** Binds a room's catalogue: `const fail = createFail(catalogue)`, then `throw fail('CODE', { fact })`. */
export function createFail<const C extends Catalogue>(
  catalogue: C,
): (code: keyof C & string, facts?: Facts, options?: { readonly cause?: unknown }) => Failure {
  return (code, facts = {}, options = {}) => new Failure(code, catalogue[code]!, facts, options)
}

/** True for a `Failure` of any copy of this module, and of that code when one is given. */
export function isFailure(error: unknown, code?: string): error is Failure {
  if (typeof error !== 'object' || error === null || !(marker in error)) return false
  return code === undefined || (error as unknown as Failure).code === code
}

/** Our own bug, never the world's fault: stays on in production. */
export function invariant(condition: boolean, statement: string): asserts condition {
  if (!condition) throw new Error(`invariant broken: ${statement}`)
}

export function never(value: never): never {
  throw new Error(`unreachable: ${JSON.stringify(value)}`)
}

/** A short, safe rendering of an outside value for error facts. */
export function preview(value: unknown): string {
  const text = typeof value === 'string' ? value : textOf(value)
  return text.length > 80 ? `${text.slice(0, 77)}...` : text
}

/** JSON.parse reads what is nested by the thousand, JSON.stringify does not survive it. */
function textOf(value: unknown): string {
  try {
    return JSON.stringify(value) ?? String(value)
  } catch {
    return 'a value that cannot be shown'
  }
}

function stringifyBigints(facts: Facts): Facts {
  return Object.fromEntries(
    Object.entries(facts).map(([name, value]) => [name, typeof value === 'bigint' ? value.toString() : value]),
  )
}

/** Codes of `core`. Every room has its own catalogue next to its code; ERRORS.md is generated from all of them. */
export const coreErrors = {
  ROOT_INVALID: { retryable: false, blame: 'caller', next: 'Pass a root: 0x and 64 hex digits.' },
  TX_HASH_INVALID: { retryable: false, blame: 'caller', next: 'Pass a transaction hash: 0x and 64 hex digits.' },
  ADDRESS_INVALID: { retryable: false, blame: 'caller', next: 'Pass an address: 0x and 40 hex digits.' },
  HEX_INVALID: { retryable: false, blame: 'caller', next: 'Pass 0x-prefixed hex of whole bytes within the limit.' },
  SIZE_INVALID: {
    retryable: false,
    blame: 'caller',
    next: 'Pass a size of at least 1 byte and at most the entry limit.',
  },
  SUBMISSION_INVALID: {
    retryable: false,
    blame: 'caller',
    next: 'Build the submission with submissionOf(): the contract accepts no other shape.',
  },
  SEGMENT_INDEX_INVALID: {
    retryable: false,
    blame: 'caller',
    next: 'Use a segment index below the segment count of the entry.',
  },
  SEGMENT_SIZE_INVALID: {
    retryable: false,
    blame: 'peer',
    next: 'Send the real chunks of the segment, padded to 256 bytes and no further.',
  },
  SEGMENT_PROOF_INVALID: {
    retryable: false,
    blame: 'peer',
    next: 'Rebuild the proof from the same bytes, or take the segment from another node.',
  },
  FRAME_INVALID: { retryable: false, blame: 'peer', next: 'Encode segments as docs/wire.md describes.' },
  RECEIPT_INVALID: { retryable: false, blame: 'peer', next: 'Ask another holder for its receipt.' },
  CODE_INVALID: {
    retryable: false,
    blame: 'caller',
    next: 'Use a code k+m with k ≥ 1, m ≥ 1 and k + m ≤ 256, and fewer parity slots per data slot for the largest objects.',
  },
  CERTIFICATE_INVALID: {
    retryable: false,
    blame: 'peer',
    next: 'Ask for the certificate again, or ask the holders for their receipts: nothing of this one is believed.',
  },
  CIPHER_HEADER_INVALID: {
    retryable: false,
    blame: 'caller',
    next: 'Download without decryption: this object has no known encryption header.',
  },
  CIPHER_KEY_INVALID: { retryable: false, blame: 'caller', next: 'Pass a 32-byte key as bytes.' },
  SHARD_CONFIG_INVALID: {
    retryable: false,
    blame: 'caller',
    next: 'Use numShard = a power of two and shardId below it.',
  },
  FLOW_STATE_INVALID: {
    retryable: false,
    blame: 'self',
    next: 'Rebuild the flow tree from the log: its saved state is damaged.',
  },
  MEMBERSHIP_INVALID: { retryable: false, blame: 'peer', next: 'Read the member list again from the registry.' },
  RPC_BODY_INVALID: {
    retryable: false,
    blame: 'peer',
    next: 'Send one JSON-RPC 2.0 object, or an array of them, as UTF-8 JSON.',
  },
  RPC_TEXT_TOO_LARGE: {
    retryable: false,
    blame: 'peer',
    next: 'Send fewer requests at once, and the bytes of files as strict base64 under "data".',
  },
  RPC_REQUEST_INVALID: {
    retryable: false,
    blame: 'peer',
    next: 'Send { "jsonrpc": "2.0", "id", "method", "params" } with params as an array or an object.',
  },
  FLOW_POSITION_INVALID: {
    retryable: false,
    blame: 'caller',
    next: 'Use a position below the flow length of that root.',
  },
} as const

export const fail: ReturnType<typeof createFail<typeof coreErrors>> = createFail(coreErrors)
