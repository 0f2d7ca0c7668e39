import { fromHex, SEGMENT_SIZE_BYTES, toHex } from '@weightless/core'
import { keccak256 } from '@weightless/kernels'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { content, createFakeNetwork, keyOf, type FakeNetwork } from '../../../sim/fakes/network.ts'
import { impatientClock } from '../../../sim/fakes/impatientClock.ts'
import { failureOf, reasonOf } from '../../../sim/fakes/outcome.ts'
import {
  createRpc,
  downloadBytes,
  parseUploadStep,
  privateKeySigner,
  upload,
  type Client,
  type UploadOptions,
  type UploadStep,
} from './index.ts'

const bytes = content(2 * SEGMENT_SIZE_BYTES + 77, 5)
const minedCount = (network: FakeNetwork): number =>
  [...network.chain.nonces.values()].reduce((sum, nonces) => sum + nonces.length, 0)
const asJson = (step: UploadStep): UploadStep => parseUploadStep(JSON.parse(JSON.stringify(step)))

/** Uploads until `last` is told, and dies there: what was told last, as a file would give it back. */
async function killedAt(
  last: UploadStep['step'],
  client: Client,
  options: Partial<UploadOptions> = {},
): Promise<{ readonly step: UploadStep; readonly told: readonly string[] }> {
  const life = new AbortController()
  const told: UploadStep[] = []
  const reason = await reasonOf(
    upload(client, bytes, {
      until: 'final',
      ...options,
      signal: life.signal,
      onStep: (step) => {
        told.push(asJson(step))
        if (step.step === last) life.abort('killed')
      },
    }),
  )
  expect(reason).toBe('killed')
  return { step: told.at(-1)!, told: told.map(({ step }) => step) }
}

describe('an upload in steps', () => {
  test('tells each step, as JSON that says the same when it is read again', async () => {
    const network = createFakeNetwork()
    const told: UploadStep[] = []
    const result = await upload(network.client(), bytes, { until: 'final', onStep: (step) => void told.push(step) })
    expect(told.map(({ step }) => step)).toEqual(['rooted', 'signed', 'anchored', 'durable', 'final'])
    for (const step of told) {
      expect(asJson(step)).toEqual(step)
      expect(step).toMatchObject({ root: result.root, sizeBytes: bytes.length, sinceBlock: 0 })
    }
    expect(told.at(-1)).toMatchObject({ entry: { seq: result.seq, txHash: result.txHash } })
  })

  test.each(['rooted', 'signed', 'anchored', 'durable', 'final'] as const)(
    'killed after %s and resumed elsewhere, it sends one transaction and the object is whole',
    async (last) => {
      const network = createFakeNetwork()
      const { step } = await killedAt(last, network.client())
      const told: string[] = []
      const result = await upload(network.client(), bytes, {
        until: 'final',
        resume: step,
        onStep: ({ step: name }) => void told.push(name),
      })
      expect(result).toMatchObject({ stage: 'final', seq: 0, reused: false })
      expect(result.receipts).toHaveLength(3)
      expect(minedCount(network)).toBe(1)
      expect(told).not.toContain('rooted')
      expect(Buffer.from(await downloadBytes(network.client(), result.root)).equals(Buffer.from(bytes))).toBe(true)
    },
  )

  test('killed between sending and the receipt, it finds the transaction', async () => {
    const network = createFakeNetwork({ mining: 'manual' })
    const life = new AbortController()
    let saved: UploadStep | undefined
    const killed = reasonOf(
      upload(network.client(), bytes, {
        signal: life.signal,
        onStep: (step) => void (saved = asJson(step)),
        onProgress: ({ txHash }) => txHash !== undefined && life.abort('killed'),
      }),
    )
    expect(await killed).toBe('killed')
    expect(saved?.step).toBe('signed')
    network.chain.mine()
    expect(await upload(network.client(), bytes, { resume: saved })).toMatchObject({ seq: 0, reused: false })
    expect(network.chain.calls.get('eth_sendRawTransaction')).toBe(1)
  })

  test('killed while storing, it does not send again what the holders have', async () => {
    const network = createFakeNetwork()
    const large = content(40 * SEGMENT_SIZE_BYTES, 8)
    const life = new AbortController()
    let saved: UploadStep | undefined
    const work = upload(network.client(), large, {
      signal: life.signal,
      onStep: (step) => void (saved = asJson(step)),
      onProgress: ({ phase, doneBytes }) => {
        if (phase === 'store' && doneBytes >= 20 * SEGMENT_SIZE_BYTES) life.abort('killed')
      },
    })
    expect(await reasonOf(work)).toBe('killed')
    const putCount = (): number => network.log.filter((line) => line.startsWith('PUT')).length
    const before = putCount()
    expect(await upload(network.client(), large, { resume: saved })).toMatchObject({ stage: 'durable', seq: 0 })
    // Batches of 1, 2, 4 and five of 8 and less: from the start it would be eight for each of three holders.
    expect(putCount() - before).toBeLessThanOrEqual(3 * 5)
    expect(Buffer.from(await downloadBytes(network.client(), saved!.root)).equals(Buffer.from(large))).toBe(true)
  })

  test('steps kept by root are asked for once the root is known', async () => {
    const network = createFakeNetwork()
    const { step } = await killedAt('signed', network.client())
    const asked: unknown[] = []
    const result = await upload(network.client(), bytes, {
      findStep: (object) => {
        asked.push(object)
        return step
      },
    })
    expect(asked).toEqual([{ root: result.root, sizeBytes: bytes.length }])
    expect(minedCount(network)).toBe(1)
  })

  test('what cannot be saved is not sent', async () => {
    const network = createFakeNetwork()
    const failure = await failureOf(
      upload(network.client(), bytes, {
        onStep: ({ step }) => {
          if (step === 'signed') throw new Error('disk full')
        },
      }),
    )
    expect(failure).toMatchObject({ code: 'STEP_NOT_SAVED', retryable: true })
    expect(network.chain.calls.get('eth_sendRawTransaction') ?? 0).toBe(0)
    // Its nonce is free again.
    expect(await upload(network.client(), bytes)).toMatchObject({ reused: false })
    expect([...network.chain.nonces.values()]).toEqual([[0]])
  })

  test('an entry that was there is an anchored step without a transaction', async () => {
    const network = createFakeNetwork()
    await upload(network.client({}, {}, 1), bytes)
    const { step, told } = await killedAt('anchored', network.client())
    expect(told).toEqual(['rooted', 'anchored'])
    expect(step).not.toHaveProperty('transaction')
    expect(await upload(network.client(), bytes, { resume: step })).toMatchObject({ seq: 0, reused: true })
    expect(minedCount(network)).toBe(1)
  })
})

describe('with encryption', () => {
  const key = new Uint8Array(32).fill(7)
  test('the continuation makes the same ciphertext, and the step does not hold the key', async () => {
    const network = createFakeNetwork()
    const encryption = { type: 'aes256', key } as const
    const { step } = await killedAt('signed', network.client(), { encryption })
    expect(JSON.stringify(step)).not.toContain(toHex(key).slice(2))
    expect(step.seal?.slice(0, 66)).toBe(`0x${'00'.repeat(32)}`)
    const { root } = await upload(network.client(), bytes, { resume: step, encryption })
    expect(root).toBe(step.root)
    const opened = await downloadBytes(network.client(), root, { decryption: { symmetricKey: key } })
    expect(Buffer.from(opened).equals(Buffer.from(bytes))).toBe(true)
    expect(minedCount(network)).toBe(1)
    expect(await failureOf(upload(network.client(), bytes, { resume: step }))).toMatchObject({
      code: 'STEP_MISMATCH',
      facts: { what: 'encryption' },
    })
  })
})

describe('a step of something else is refused before anything is sent', () => {
  test.each([
    ['root', async () => ({ source: content(bytes.length, 6) })],
    ['size', async () => ({ source: content(bytes.length + 1, 5) })],
    ['tags', async () => ({ tags: Uint8Array.of(1) })],
    ['wallet', async () => ({ account: 1 })],
    ['chain id', async (step: UploadStep) => ({ step: { ...step, chainId: 16661 } })],
    ['flow', async (step: UploadStep) => ({ step: { ...step, flow: `0x${'11'.repeat(20)}` as never } })],
    [
      'contract of the transaction',
      async (step: UploadStep) => ({ step: await signedInstead(step, { to: `0x${'22'.repeat(20)}` }) }),
    ],
    ['call of the transaction', async (step: UploadStep) => ({ step: await signedInstead(step, { data: '0x1234' }) })],
    ['chain id of the transaction', async (step: UploadStep) => ({ step: await signedInstead(step, { chainId: 1 }) })],
  ] as const)('%s', async (what, change) => {
    const network = createFakeNetwork()
    const { step } = await killedAt('signed', network.client())
    const changed = (await change(step)) as {
      source?: Uint8Array
      tags?: Uint8Array
      account?: number
      step?: UploadStep
    }
    const client = network.client({}, {}, changed.account ?? 0)
    const work = upload(client, changed.source ?? bytes, { resume: changed.step ?? step, tags: changed.tags })
    expect(await failureOf(work)).toMatchObject({ code: 'STEP_MISMATCH', facts: { what } })
    expect(network.chain.calls.get('eth_sendRawTransaction') ?? 0).toBe(0)
  })

  /** The same step with another transaction of the same wallet in it. */
  async function signedInstead(step: UploadStep, changes: object): Promise<UploadStep> {
    if (step.step !== 'signed') throw new Error('a signed step was expected')
    const { hashOfRaw, callOf } = await import('./pendingTransaction.ts')
    const { privateKeyToAccount } = await import('viem/accounts')
    const { to, data, chainId, nonce } = callOf(step.transaction)
    const raw = await privateKeyToAccount(keyOf(0)).signTransaction({
      type: 'eip1559',
      to,
      data,
      chainId,
      nonce,
      ...changes,
    })
    return { ...step, transaction: { ...step.transaction, raw, txHash: hashOfRaw(raw) } }
  }
})

describe('an upload under a code, in steps', () => {
  const coded = { code: '2+1' }

  test.each(['rooted', 'signed', 'anchored', 'durable', 'final'] as const)(
    'killed at `%s`, its continuation has both entries and pays once',
    async (last) => {
      const network = createFakeNetwork()
      const { step } = await killedAt(last, network.client(), coded)
      expect(step.parity).toMatchObject({ code: { k: 2, m: 1 } })
      const result = await upload(network.client(), bytes, { ...coded, resume: step })
      expect(result).toMatchObject({ seq: 0, parity: { seq: 1, root: step.parity!.root }, lossesSurvived: 1 })
      expect(minedCount(network)).toBe(1)
    },
  )

  test.each(['signed', 'anchored'] as const)(
    'killed at `%s` of a payment for parity alone, it is not paid twice',
    async (last) => {
      const network = createFakeNetwork()
      await upload(network.client({}, {}, 1), bytes)
      const { step } = await killedAt(last, network.client(), coded)
      expect(step.dataEntry).toMatchObject({ seq: 0 })
      const result = await upload(network.client(), bytes, { ...coded, resume: step })
      expect(result).toMatchObject({ seq: 0, parity: { seq: 1 } })
      expect(minedCount(network)).toBe(2)
    },
  )

  test('a wallet sent both with another fee: they are found by sender and root', async () => {
    const network = createFakeNetwork()
    const { step } = await killedAt('signed', network.client(), coded)
    if (step.step !== 'signed') throw new Error('a signed step was expected')
    const { callOf } = await import('./pendingTransaction.ts')
    const { to, data, valueWei } = callOf(step.transaction)
    await sendOther(network, { to, data, value: valueWei })
    const result = await upload(network.client({}, { clock: impatientClock() }), bytes, { ...coded, resume: step })
    expect(result).toMatchObject({ seq: 0, parity: { seq: 1 }, reused: false })
    expect(minedCount(network)).toBe(1)
  })

  test('goes on under the same code alone', async () => {
    const network = createFakeNetwork()
    const { step } = await killedAt('signed', network.client(), coded)
    for (const other of [{}, { code: '2+2' }]) {
      const failure = await failureOf(upload(network.client(), bytes, { ...other, resume: step }))
      expect(failure).toMatchObject({ code: 'STEP_MISMATCH', facts: { what: 'code', step: '2+1' } })
    }
    const plain = (await killedAt('rooted', network.client())).step
    const failure = await failureOf(upload(network.client(), bytes, { ...coded, resume: plain }))
    expect(failure).toMatchObject({ code: 'STEP_MISMATCH', facts: { what: 'code' } })
  })

  test.each([
    ['no code', { parity: { code: { k: 0, m: 1 }, root: `0x${'11'.repeat(32)}` } }],
    ['no root', { parity: { code: { k: 2, m: 1 }, root: '0x' } }],
    ['no entry', { dataEntry: { seq: -1 } }],
  ])('a step whose parity has %s is refused', async (_, change) => {
    const { step } = await killedAt('signed', createFakeNetwork().client(), coded)
    expect(() => parseUploadStep({ ...step, ...change })).toThrow(/STEP_INVALID/)
  })
})

describe('a payment that went another way', () => {
  test('its nonce went to another program: nothing of it can be mined, and it pays with the next one', async () => {
    const network = createFakeNetwork()
    const { step } = await killedAt('signed', network.client())
    await sendOther(network)
    const told: string[] = []
    const result = await upload(network.client({}, { clock: impatientClock() }), bytes, {
      resume: step,
      onStep: ({ step: name }) => void told.push(name),
    })
    expect(result).toMatchObject({ seq: 0, reused: false })
    expect(told).toEqual(['rooted', 'signed', 'anchored', 'durable'])
    expect([...network.chain.nonces.values()]).toEqual([[0, 1]])
  })

  test('without steps too, an upload whose nonce went to another program while it waited pays with the next one', async () => {
    const network = createFakeNetwork()
    let isTaken = false
    const net = {
      fetch: async (request: Request) => {
        const text = request.method === 'POST' ? await request.clone().text() : ''
        if (isTaken || !text.includes('eth_sendRawTransaction')) return network.net.fetch(request)
        isTaken = true
        // The pool takes it, and the next block has the other one.
        await sendOther(network)
        const asked = JSON.parse(text) as { id: number; method: string; params: [`0x${string}`] }[]
        const answers = asked.map(({ id, method, params }) => {
          const isSend = method === 'eth_sendRawTransaction'
          return { jsonrpc: '2.0', id, result: isSend ? toHex(keccak256(fromHex(params[0]))) : null }
        })
        return Response.json(answers)
      },
    }
    const result = await upload(network.client({}, { net, clock: impatientClock() }), bytes)
    expect(result).toMatchObject({ seq: 0, reused: false })
    expect([...network.chain.nonces.values()]).toEqual([[0, 1]])
  })

  test('a wallet sent it with another fee: the entry is found by sender and root', async () => {
    const network = createFakeNetwork()
    const { step } = await killedAt('signed', network.client())
    if (step.step !== 'signed') throw new Error('a signed step was expected')
    const { callOf } = await import('./pendingTransaction.ts')
    const { to, data, valueWei } = callOf(step.transaction)
    await sendOther(network, { to, data, value: valueWei })
    const result = await upload(network.client({}, { clock: impatientClock() }), bytes, { resume: step })
    expect(result).toMatchObject({ seq: 0, reused: false })
    expect(minedCount(network)).toBe(1)
  })

  test('a step that is anchored and whose block is gone goes back to its transaction', async () => {
    const network = createFakeNetwork()
    const { step } = await killedAt('anchored', network.client())
    // Anchored in a transaction that the chain does not know any more.
    const lost = { ...step, entry: { seq: 9, txHash: `0x${'ee'.repeat(32)}`, blockNumber: 1 } } as UploadStep
    expect(await upload(network.client(), bytes, { resume: lost })).toMatchObject({ seq: 0, reused: false })
    expect(minedCount(network)).toBe(1)
  })
})

describe('a wallet that sends by itself', () => {
  /** An EIP-1193 wallet over the fake chain; `before` runs when it is asked, `after` when it has sent. */
  function walletOf(network: FakeNetwork, steps: { before?: () => void; after?: () => void } = {}) {
    const { chain } = network
    const local = privateKeySigner(keyOf(0))
    const sent: string[] = []
    chain.setBalance(local.address, 10n ** 24n)
    const rpc = createRpc(network.rpcUrl, { ...network.client().deps })
    const request = async ({ method, params }: { method: string; params: readonly any[] }): Promise<unknown> => {
      if (method !== 'eth_sendTransaction') return rpc.request(method, params)
      steps.before?.()
      const { to, data, value, gas } = params[0]
      const nonce = Number(await rpc.request('eth_getTransactionCount', [local.address, 'pending']))
      const raw = await local.signTransaction({
        type: 'eip1559',
        chainId: chain.chainId,
        nonce,
        to,
        data,
        value: BigInt(value),
        gas: BigInt(gas),
        maxFeePerGas: 10n ** 10n,
        maxPriorityFeePerGas: 10n ** 9n,
      } as never)
      const hash = (await rpc.request('eth_sendRawTransaction', [raw])) as string
      sent.push(hash)
      steps.after?.()
      return hash
    }
    return { signer: { address: local.address, provider: { request: request as never } }, sent }
  }

  test('is asked once more only when nothing of it is out', async () => {
    const network = createFakeNetwork()
    const wallet = walletOf(network)
    const { step } = await killedAt('asked', network.client({ signer: wallet.signer }))
    expect(step).toMatchObject({ step: 'asked' })
    expect(wallet.sent).toEqual([])
    await upload(network.client({ signer: wallet.signer }), bytes, { resume: step })
    expect(wallet.sent).toHaveLength(1)
    expect(minedCount(network)).toBe(1)
  })

  test('killed while the wallet sends, the entry is found by sender and root', async () => {
    const network = createFakeNetwork()
    const life = new AbortController()
    const wallet = walletOf(network, { after: () => life.abort('killed') })
    let saved: UploadStep | undefined
    const work = upload(network.client({ signer: wallet.signer }), bytes, {
      signal: life.signal,
      onStep: (step) => void (saved = asJson(step)),
    })
    expect(await reasonOf(work)).toBe('killed')
    expect(saved).toMatchObject({ step: 'asked', transaction: { by: 'wallet' } })
    expect(saved).not.toHaveProperty('transaction.txHash')
    const result = await upload(network.client({ signer: wallet.signer }), bytes, { resume: saved })
    expect(result).toMatchObject({ seq: 0, reused: false })
    expect(wallet.sent).toHaveLength(1)
  })

  test('a hash that nobody knows any more is told, and nothing is paid again', async () => {
    const network = createFakeNetwork()
    const wallet = walletOf(network)
    const { step } = await killedAt('asked', network.client({ signer: wallet.signer }))
    const lost = {
      ...step,
      transaction: { ...(step as any).transaction, txHash: `0x${'ab'.repeat(32)}` },
    } as UploadStep
    const client = network.client({ signer: wallet.signer }, { clock: impatientClock() })
    expect(await failureOf(upload(client, bytes, { resume: lost }))).toMatchObject({ code: 'TX_DROPPED' })
    expect(wallet.sent).toEqual([])
  })
})

describe('parseUploadStep', () => {
  test('takes nothing but steps, and never throws anything but its own failure', async () => {
    const network = createFakeNetwork()
    const told: UploadStep[] = []
    await upload(network.client(), bytes, { onStep: (step) => void told.push(asJson(step)) })
    const valid = fc.constantFrom(...told)
    const spoiled = fc
      .tuple(valid, fc.constantFrom(...new Set(told.flatMap(Object.keys))), fc.anything())
      .map(([step, name, value]) => ({ ...step, [name]: value }))
    fc.assert(
      fc.property(fc.oneof(fc.anything(), spoiled), (value) => {
        try {
          // What it takes it gives back the same.
          const step = parseUploadStep(value)
          expect(parseUploadStep(JSON.parse(JSON.stringify(step)))).toEqual(step)
        } catch (error) {
          expect(error).toMatchObject({ code: 'STEP_INVALID' })
        }
      }),
      { numRuns: 500 },
    )
  })

  test.each([
    ['another version', { version: 2 }],
    ['an unknown step', { step: 'paid' }],
    ['a hash that is not that of the bytes', { transaction: { txHash: `0x${'00'.repeat(32)}` } }],
    ['a nonce that is not that of the bytes', { transaction: { nonce: 5 } }],
    ['tags beyond the limit', { tags: `0x${'00'.repeat(4097)}` }],
    ['a size beyond the limit', { sizeBytes: 2 ** 40 }],
  ])('refuses %s', async (_, change: Record<string, any>) => {
    const { step } = await killedAt('signed', createFakeNetwork().client())
    const transaction = { ...(step as any).transaction, ...change['transaction'] }
    expect(() => parseUploadStep({ ...step, ...change, transaction })).toThrow('STEP_INVALID')
  })
})

async function sendOther(network: FakeNetwork, changes: object = {}): Promise<void> {
  const { privateKeyToAccount } = await import('viem/accounts')
  const raw = await privateKeyToAccount(keyOf(0)).signTransaction({
    type: 'eip1559',
    chainId: network.chain.chainId,
    nonce: 0,
    gas: 400_000n,
    to: `0x${'33'.repeat(20)}`,
    maxFeePerGas: 10n ** 10n,
    maxPriorityFeePerGas: 10n ** 9n,
    ...changes,
  } as never)
  const rpc = createRpc(network.rpcUrl, { ...network.client().deps })
  await rpc.request('eth_sendRawTransaction', [raw])
  network.chain.mine()
}
