import type { Address, Clock, Hex, Logger } from '@weightless/core'
import { isFailure } from '@weightless/core'
import {
  heartbeat,
  readOwnMember,
  readRegistryRules,
  registerMember,
  updateMember,
  type MemberDescription,
  type OwnMember,
  type Rpc,
  type Transactor,
} from '@weightless/sdk'
import { fail } from '../errors.ts'

export type RegistrationOptions = {
  readonly registry: Address
  readonly signer: Address
  readonly endpoint: string
  readonly domain: Hex
  readonly capacitySegments: bigint
  /** `undefined`: what covers the whole capacity. */
  readonly stakeWei: bigint | undefined
}

export type RegistrationDeps = {
  readonly rpc: Rpc
  readonly transactor: Transactor
  readonly clock: Clock
  readonly logger: Logger
}

/** What must be sent so that the registry says of this node what it says of itself: a decision, no side effect. */
export type RegistrationStep =
  | { readonly step: 'register'; readonly stakeWei: bigint }
  | { readonly step: 'update'; readonly stakeWei: bigint }
  | { readonly step: 'heartbeat' }
  | { readonly step: 'none'; readonly reason: 'registered' | 'draining' }

export function nextStep(
  own: OwnMember | undefined,
  wanted: MemberDescription & { readonly stakeWei: bigint },
): RegistrationStep {
  if (own === undefined) return { step: 'register', stakeWei: wanted.stakeWei }
  switch (own.status) {
    case 'none':
    case 'left':
      return { step: 'register', stakeWei: wanted.stakeWei }
    case 'stale':
      return { step: 'heartbeat' }
    case 'draining':
      return { step: 'none', reason: 'draining' }
    case 'active': {
      const missingWei: bigint = wanted.stakeWei > own.stakeWei ? wanted.stakeWei - own.stakeWei : 0n
      const same =
        own.signer === wanted.signer &&
        own.endpoint === wanted.endpoint &&
        own.domain === wanted.domain &&
        own.capacitySegments === wanted.capacitySegments
      return same && missingWei === 0n
        ? { step: 'none', reason: 'registered' }
        : { step: 'update', stakeWei: missingWei }
    }
  }
}

/** Steps from any state to `registered`: a stale member whose endpoint moved needs two. */
const STEPS_MAX = 4
const RETRY_MS = 1_000
/** A chain that is away for longer than this at start is told to the operator. */
const ATTEMPTS_MAX = 30

/** Registers the node, wakes it, or corrects what the registry says of it; answers what it says then. Throws `REGISTRATION_FAILED`, with
 *  the `status` of a node that is a member all the same. */
export async function ensureRegistered(
  options: RegistrationOptions,
  deps: RegistrationDeps,
  { signal }: { readonly signal: AbortSignal },
): Promise<OwnMember> {
  const { logger, clock } = deps
  const seen: Seen = { own: undefined }
  for (let attempt = 1; ; attempt++) {
    try {
      return await walk(options, deps, seen, signal)
    } catch (error) {
      signal.throwIfAborted()
      if (!isFailure(error) || !error.retryable || attempt >= ATTEMPTS_MAX) {
        throw fail(
          'REGISTRATION_FAILED',
          {
            registry: options.registry,
            signer: options.signer,
            status: seen.own?.status,
            code: isFailure(error) ? error.code : undefined,
          },
          { cause: error },
        )
      }
      logger.warn('registration.delayed', { attempt, error })
    }
    await clock.sleep(RETRY_MS, { signal })
  }
}

/** What the registry said when it was last read: of a node that is a member, or was one a moment ago. */
type Seen = { own: OwnMember | undefined }

async function walk(
  options: RegistrationOptions,
  deps: RegistrationDeps,
  seen: Seen,
  signal: AbortSignal,
): Promise<OwnMember> {
  const { rpc, transactor, logger } = deps
  const { registry, signer, endpoint, domain, capacitySegments } = options
  const { stakePerSegmentWei } = await readRegistryRules(rpc, registry, { signal })
  const stakeWei = options.stakeWei ?? capacitySegments * stakePerSegmentWei
  const wanted = { signer, endpoint, domain, capacitySegments, stakeWei }
  for (let taken = 0; taken < STEPS_MAX; taken++) {
    const own = await readOwnMember(rpc, registry, await transactor.address({ signal }), { signal })
    seen.own = own?.status === 'left' || own?.status === 'none' ? undefined : own
    const next = nextStep(own, wanted)
    switch (next.step) {
      case 'none':
        if (next.reason === 'draining') logger.warn('registration.draining', { id: own?.id })
        return own!
      case 'register':
        await registerMember(transactor, registry, wanted, { signal })
        break
      case 'update':
        await updateMember(transactor, registry, { ...wanted, stakeWei: next.stakeWei }, { signal })
        break
      case 'heartbeat':
        await heartbeat(transactor, registry, { signal })
        break
    }
    logger.info('registration.changed', { step: next.step, endpoint, registry })
  }
  throw fail('REGISTRATION_UNSETTLED', { registry, signer, steps: STEPS_MAX })
}
