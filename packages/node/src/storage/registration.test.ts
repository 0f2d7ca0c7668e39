import { describe, expect, test } from 'vitest'
import { domainOf, type Address } from '@weightless/core'
import type { OwnMember } from '@weightless/sdk'
import { nextStep } from './registration.ts'

const wanted = {
  signer: `0x${'01'.repeat(20)}` as Address,
  endpoint: 'http://a.test',
  domain: domainOf('a'),
  capacitySegments: 100n,
  stakeWei: 1000n,
}
const own = (fields: Partial<OwnMember>): OwnMember => ({
  id: 1,
  owner: wanted.signer,
  signer: wanted.signer,
  endpoint: wanted.endpoint,
  domain: wanted.domain,
  weight: 100n,
  capacitySegments: 100n,
  stakeWei: 1000n,
  lastHeartbeat: 0,
  status: 'active',
  ...fields,
})

describe('the registration of a storage node', () => {
  test.each<readonly [string, OwnMember | undefined, ReturnType<typeof nextStep>]>([
    ['a stranger registers with its stake', undefined, { step: 'register', stakeWei: 1000n }],
    ['one that left registers again', own({ status: 'left' }), { step: 'register', stakeWei: 1000n }],
    ['one that is as it should be sends nothing', own({}), { step: 'none', reason: 'registered' }],
    [
      'a moved endpoint is updated without more stake',
      own({ endpoint: 'http://b.test' }),
      { step: 'update', stakeWei: 0n },
    ],
    ['another capacity is updated', own({ capacitySegments: 5n }), { step: 'update', stakeWei: 0n }],
    ['another domain is updated', own({ domain: domainOf('b') }), { step: 'update', stakeWei: 0n }],
    ['missing stake is topped up', own({ stakeWei: 400n }), { step: 'update', stakeWei: 600n }],
    ['more stake than wanted is left alone', own({ stakeWei: 4000n }), { step: 'none', reason: 'registered' }],
    [
      'a stale one says that it lives, before anything else',
      own({ status: 'stale', endpoint: 'http://b.test' }),
      { step: 'heartbeat' },
    ],
    ['one that drains is left alone', own({ status: 'draining' }), { step: 'none', reason: 'draining' }],
  ])('%s', (_, found, step) => {
    expect(nextStep(found, wanted)).toEqual(step)
  })
})
