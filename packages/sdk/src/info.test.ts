import { copyHomes, SEGMENT_SIZE_BYTES } from '@weightless/core'
import { describe, expect, test } from 'vitest'
import { content, createFakeNetwork, isDown } from '../../../sim/fakes/network.ts'
import { failureOf } from '../../../sim/fakes/outcome.ts'
import { info, list, upload } from './index.ts'

describe('info', () => {
  test('names the entries that the chain confirms, their holders and the stage', async () => {
    const network = createFakeNetwork()
    const client = network.client()
    const { root, receipts } = await upload(client, content(300_000, 1))
    network.chain.setFinalized(0)
    const durable = await info(client, root)
    expect(durable).toMatchObject({ root, stage: 'durable', entries: [{ seq: 0, sizeBytes: 300_000 }] })
    const complete = durable.holders.filter((holder) => holder.complete)
    expect(new Set(complete.map(({ receipt }) => receipt?.signer))).toEqual(
      new Set(receipts.map(({ signer }) => signer)),
    )
    expect(complete).toHaveLength(3)
    network.chain.setFinalized(1)
    expect((await info(client, root)).stage).toBe('final')
  })

  test('an object under a code: its certificate, the slots of each holder, and how many more losses it survives', async () => {
    const network = createFakeNetwork()
    const client = network.client()
    const bytes = content(9 * SEGMENT_SIZE_BYTES, 1)
    const { root, certificate } = await upload(client, bytes, { code: '4+2' })
    const found = await info(client, root)
    expect(found).toMatchObject({
      stage: 'final',
      protection: { certificate, presentHolderCount: 6, lossesSurvivedNow: 2, facts: { lossesSurvived: 2 } },
    })
    expect(found.holders.flatMap(({ slots }) => slots).sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5])
    const lostAfter: (number | undefined)[] = []
    for (const node of network.nodes.slice(0, 3)) {
      node.fault = isDown
      lostAfter.push((await info(client, root)).protection?.lossesSurvivedNow)
    }
    expect(lostAfter).toEqual([1, 0, undefined])
    expect((await info(client, root)).stage).toBe('anchored')
  })

  test('an entry whose bytes are kept under the certificate of another one', async () => {
    const network = createFakeNetwork()
    const client = network.client()
    const bytes = content(9 * SEGMENT_SIZE_BYTES, 1)
    await upload(client, bytes, { until: 'anchored' })
    const { root, seq } = await upload(client, bytes, { code: '4+2', onExisting: 'resubmit' })
    const found = await info(client, root)
    expect(found.entries[0]!.seq).toBe(0)
    expect(found).toMatchObject({
      stage: 'final',
      protection: { certificate: { entrySeq: seq }, lossesSurvivedNow: 2 },
    })
  })

  test('of certificates that differ the one that says most is shown', async () => {
    const network = createFakeNetwork()
    const client = network.client()
    const { root } = await upload(client, content(9 * SEGMENT_SIZE_BYTES, 1), { code: '4+2' })
    // One holder was not told of what the others have signed since.
    let staleCount = 0
    for (const node of network.nodes.slice(0, 5)) {
      node.fault = async (request, real) => {
        const response = await real.handle(request)
        if (!request.url.includes('/certificate')) return response
        staleCount += 1
        const certificate = (await response.json()) as { receipts: unknown[]; fingerprints: unknown[] }
        const { receipts, fingerprints } = certificate
        return Response.json({ ...certificate, receipts: receipts.slice(0, 5), fingerprints: fingerprints.slice(0, 5) })
      }
    }
    expect((await info(client, root)).protection).toMatchObject({ presentHolderCount: 6, lossesSurvivedNow: 2 })
    expect(staleCount).toBeGreaterThan(0)
  })

  test('of entries of the same bytes the one whose certificate says most is shown', async () => {
    const network = createFakeNetwork()
    const client = network.client()
    const bytes = content(9 * SEGMENT_SIZE_BYTES, 1)
    await upload(client, bytes, { code: '4+2' })
    const { root, seq } = await upload(client, bytes, { code: '4+2', onExisting: 'resubmit' })
    // Made anew by somebody whom not all holders of the first entry answered.
    for (const node of network.nodes)
      node.fault = async (request, real) => {
        const response = await real.handle(request)
        if (!request.url.includes('/certificate?seq=0')) return response
        const certificate = (await response.json()) as { receipts: unknown[]; fingerprints: unknown[] }
        const { receipts, fingerprints } = certificate
        return Response.json({ ...certificate, receipts: receipts.slice(0, 5), fingerprints: fingerprints.slice(0, 5) })
      }
    expect((await info(client, root)).protection).toMatchObject({
      certificate: { entrySeq: seq },
      lossesSurvivedNow: 2,
    })
  })

  test('a certificate that is forged, or of another entry, is not shown', async () => {
    const network = createFakeNetwork()
    const client = network.client()
    const { root } = await upload(client, content(9 * SEGMENT_SIZE_BYTES, 1), { code: '4+2' })
    const forge = (change: (certificate: { [name: string]: unknown }) => void): void => {
      for (const node of network.nodes) {
        node.fault = async (request, real) => {
          const response = await real.handle(request)
          if (!request.url.includes('/certificate')) return response
          const certificate = (await response.json()) as { [name: string]: unknown }
          change(certificate)
          return Response.json(certificate)
        }
      }
    }
    forge((certificate) => (certificate['sizeBytes'] = 1))
    expect((await info(client, root)).protection).toBeUndefined()
    forge((certificate) => (certificate['members'] = []))
    expect((await info(client, root)).protection).toBeUndefined()
    forge(({ fingerprints }) => void (fingerprints as string[]).reverse())
    expect(await info(client, root)).toMatchObject({ stage: 'anchored', protection: undefined })
  })

  test('an entry without data is anchored, and a lost copy is not durable', async () => {
    const network = createFakeNetwork()
    const client = network.client()
    const { root } = await upload(client, content(300_000, 1), { until: 'anchored' })
    expect(await info(client, root)).toMatchObject({
      stage: 'anchored',
      holders: expect.arrayContaining([expect.objectContaining({ complete: false, receipt: undefined })]),
    })
    await upload(client, content(300_000, 1))
    network.nodes.find((node) => node.holds(root) > 0)!.lose(root)
    expect((await info(client, root)).stage).toBe('anchored')
  })

  test('a size that the chain does not confirm is not shown', async () => {
    const network = createFakeNetwork()
    const client = network.client()
    const { root } = await upload(client, content(300, 1))
    const [home] = copyHomes(
      { key: root, count: 3 },
      network.nodes.map(({ member }) => member),
    )
    const liar = network.nodes.find(({ url }) => url === home!.member.endpoint)!
    liar.fault = async (request, node) => {
      const response = await node.handle(request)
      if (!request.url.endsWith(root)) return response
      const answer = (await response.json()) as { entries: object[] }
      return Response.json({
        ...answer,
        entries: [...answer.entries, { ...answer.entries[0], seq: 5, sizeBytes: 512 }],
      })
    }
    expect((await info(client, root)).entries.map(({ seq }) => seq)).toEqual([0])
  })

  test('an unknown root, and nodes that are down', async () => {
    const network = createFakeNetwork()
    const root = `0x${'ab'.repeat(32)}`
    expect(await failureOf(info(network.client(), root))).toMatchObject({ code: 'OBJECT_UNKNOWN' })
    for (const node of network.nodes) node.fault = isDown
    expect(await failureOf(info(network.client(), root))).toMatchObject({
      code: 'OBJECT_UNAVAILABLE',
      facts: { asked: 6 },
    })
  })
})

describe('list', () => {
  test('gives the log in order, page by page, also with a node down', async () => {
    const network = createFakeNetwork()
    const client = network.client()
    for (let i = 0; i < 4; i++) await upload(client, content(100 + i, i), { until: 'anchored' })
    network.nodes[0]!.fault = isDown
    expect((await list(client)).map(({ sizeBytes }) => sizeBytes)).toEqual([100, 101, 102, 103])
    expect((await list(client, { after: 0, limit: 2 })).map(({ seq }) => seq)).toEqual([1, 2])
    expect(await failureOf(list(client, { limit: 0 }))).toMatchObject({ code: 'OPTION_INVALID' })
  })
})
