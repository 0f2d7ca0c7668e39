import { afterEach, describe, expect, test } from 'vitest'
import type { Address, Clock, Entry, Root } from '@weightless/core'
import { SEGMENT_SIZE_BYTES } from '@weightless/core'
import { silentLogger } from '../../../../sim/silentLogger.ts'
import { memberOf } from '../../test/testRoles.ts'
import { fixedMembership } from '../flow/membership.ts'
import type { Peers } from '../peers/peers.ts'
import { createDispersal, type Dispersal, type DispersalDeps } from './dispersal.ts'

const root = `0x${'11'.repeat(32)}` as Root
const signer = `0x${'22'.repeat(20)}` as Address
const entry = { seq: 0, root, sizeBytes: 100 * SEGMENT_SIZE_BYTES } as Entry
const running: AbortController[] = []
afterEach(() => {
  for (const over of running.splice(0)) over.abort()
})

type At = { readonly dispersal: Dispersal; answerBatch(): void; readonly endWait: () => void; sentCount(): number }
type Options = Partial<Pick<DispersalDeps, 'parity' | 'isSpooled'>>

/** One holder that answers, and a time that passes, when the test says so. */
function dispersalOfOneHolder(options: Options = {}): At {
  let endWait = (): void => undefined
  const answers: (() => void)[] = []
  let sentCount = 0
  const clock: Clock = {
    nowMs: () => 0,
    deadline: () => new AbortController().signal,
    sleep: (_ms, { signal }) =>
      new Promise((resolve, reject) => {
        endWait = resolve
        signal?.addEventListener('abort', () => reject(signal.reason), { once: true })
      }),
  }
  const member = memberOf(1, { url: 'http://holder.test', signer })
  const putFrames = (): Promise<object> => {
    sentCount += 1
    return new Promise((resolve) => answers.push(() => resolve({ receipt: undefined })))
  }
  const receipt = async (): Promise<undefined> => undefined
  const peers = { of: () => ({ putFrames, receipt }), isAvoided: () => false, succeeded: () => undefined }
  const dispersal = createDispersal(
    { replicas: 1 },
    {
      bodies: { make: async () => ({ body: new Uint8Array(0), release: () => undefined }) },
      ledger: {
        isFinal: () => false,
        isCertified: () => false,
        certified: () => undefined,
        receipts: () => [],
        counted: () => [],
        forget: () => undefined,
        settle: async () => false,
        neededCount: () => 1,
        add: async () => false,
      },
      membership: fixedMembership([member]),
      peers: peers as unknown as Peers,
      isSpooled: () => true,
      clock,
      logger: silentLogger,
      onFinal: () => undefined,
      ...options,
    },
  )
  const over = new AbortController()
  running.push(over)
  void dispersal.run({ signal: over.signal })
  return {
    dispersal,
    answerBatch: () => answers.shift()!(),
    endWait: () => endWait(),
    sentCount: () => sentCount,
  }
}

const indexes = (from: number, count: number): number[] => Array.from({ length: count }, (_, i) => from + i)
const turn = (): Promise<void> => new Promise((next) => setImmediate(next))

describe('an upload that comes in faster than it is passed on', () => {
  test('waits for the batch on its way, and goes on when the next has left', async () => {
    const { dispersal, answerBatch, sentCount } = dispersalOfOneHolder()
    dispersal.feed(entry, indexes(0, 32))
    let waited: string | undefined
    void dispersal.nextBatch(entry).then((what) => (waited = what))
    await turn()
    expect([waited, sentCount()]).toEqual([undefined, 1])
    answerBatch()
    await turn()
    expect([waited, sentCount()]).toEqual(['left', 2])
  })

  test('waits no longer when there is no other batch', async () => {
    const { dispersal, answerBatch } = dispersalOfOneHolder()
    dispersal.feed(entry, indexes(0, 16))
    const waiting = dispersal.nextBatch(entry)
    await turn()
    answerBatch()
    expect(await waiting).toBe('left')
    expect(await dispersal.nextBatch(entry)).toBe('none')
  })

  test('waits a moment for slow holders, and not again for the same batch', async () => {
    const { dispersal, answerBatch, endWait } = dispersalOfOneHolder()
    dispersal.feed(entry, indexes(0, 32))
    const waiting = [dispersal.nextBatch(entry), dispersal.nextBatch(entry)]
    endWait()
    expect(await Promise.all(waiting)).toEqual(['none', 'none'])
    expect(await dispersal.nextBatch(entry)).toBe('none')
    await turn()
    answerBatch()
    await turn()
    let waited: string | undefined
    void dispersal.nextBatch(entry).then((what) => (waited = what))
    await turn()
    expect(waited).toBeUndefined()
  })

  test('that is not passed on waits for nothing', async () => {
    const { dispersal } = dispersalOfOneHolder()
    dispersal.feed(entry, indexes(0, 15))
    expect(await dispersal.nextBatch(entry)).toBe('none')
  })
})

describe('an entry that is to have parity', () => {
  async function offered(isSpooled: boolean): Promise<{ readonly givenCount: number; readonly sentCount: number }> {
    let givenCount = 0
    const parity: DispersalDeps['parity'] = {
      covers: () => true,
      give: async () => {
        givenCount += 1
        return 'certified'
      },
      certify: async () => undefined,
    }
    const { dispersal, sentCount } = dispersalOfOneHolder({ parity, isSpooled: () => isSpooled })
    dispersal.offer(entry)
    await turn()
    await turn()
    return { givenCount, sentCount: sentCount() }
  }

  test('and was uploaded here gets it, and no copies', async () => {
    expect(await offered(true)).toEqual({ givenCount: 1, sentCount: 0 })
  })

  test('and that others left short of copies is copied: nobody pays for it', async () => {
    expect(await offered(false)).toEqual({ givenCount: 0, sentCount: 1 })
  })
})
