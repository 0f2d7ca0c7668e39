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

/** Registers the node, wakes it, or corrects what the registry says of it. Throws `REGISTRATION_FAILED`. */
export async function ensureRegistered(
  options: RegistrationOptions,
  deps: RegistrationDeps,
  { signal }: { readonly signal: AbortSignal },
): Promise<void> {
  const { logger, clock } = deps
  for (let attempt = 1; ; attempt++) {
    try {
      await walk(options, deps, signal)
      return
    } catch (error) {
      signal.throwIfAborted()
      if (!isFailure(error) || !error.retryable || attempt >= ATTEMPTS_MAX) {
        throw fail(
          'REGISTRATION_FAILED',
          { registry: options.registry, signer: options.signer, code: isFailure(error) ? error.code : undefined },
          { cause: error },
        )
      }
      logger.warn('registration.delayed', { attempt, error })
    }
    await clock.sleep(RETRY_MS, { signal })
  }
}

async function walk(options: RegistrationOptions, deps: RegistrationDeps, signal: AbortSignal): Promise<void> {
  const { rpc, transactor, logger } = deps
  const { registry, signer, endpoint, domain, capacitySegments } = options
  const { stakePerSegmentWei } = await readRegistryRules(rpc, registry, { signal })
  const stakeWei = options.stakeWei ?? capacitySegments * stakePerSegmentWei
  const wanted = { signer, endpoint, domain, capacitySegments, stakeWei }
  for (let taken = 0; taken < STEPS_MAX; taken++) {
    const own = await readOwnMember(rpc, registry, await transactor.address({ signal }), { signal })
    const next = nextStep(own, wanted)
    switch (next.step) {
      case 'none':
        if (next.reason === 'draining') logger.warn('registration.draining', { id: own?.id })
        return
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
}
