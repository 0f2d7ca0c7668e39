import {
  assembleCertificate,
  bitmapOf,
  checkFingerprints,
  concat,
  decodeBase64,
  decodeFrames,
  encodeFrames,
  receiptKindOf,
  slotsOf,
  verifyReceipt,
  type Certificate,
  type Entry,
  type Hex,
  type Membership,
  type ProvenSegment,
  type Receipt,
} from '@weightless/core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { codedObjectOf, type CodedObject } from './codedObject.ts'
import type { StorageNodeHarness } from './storageNode.ts'

/** A storage node that is a member of a registry. */
export type ShardNodeHarness = StorageNodeHarness & { readonly membership: Membership }

type Shards = { readonly receipt: Receipt; readonly fingerprints: string }
type ToldParity = {
  readonly seq: number
  readonly root: string
  readonly k: number
  readonly m: number
  readonly proven: boolean
  readonly slots: Hex
}
type Submitted = { readonly object: CodedObject; readonly data: Entry; readonly parity: Entry }

const SIZE_BYTES = 9 * 262_144 + 1_000
const CODE = { k: 4, m: 2 }

/** What docs/wire.md promises about shards and certificates. Every storage node passes this, the fake of the SDK's tests included. */
export function storageNodeShardCompliance(name: string, make: () => Promise<ShardNodeHarness>): void {
  describe(`shards and certificates at a storage node: ${name}`, () => {
    let at: ShardNodeHarness
    let seed = 100
    beforeAll(async () => {
      at = await make()
    })
    afterAll(() => at[Symbol.asyncDispose]())

    const get = (path: string): Promise<Response> => at.net.fetch(new Request(new URL(path, at.url).href))
    const put = (path: string, body: string | Uint8Array): Promise<Response> =>
      at.net.fetch(
        new Request(new URL(path, at.url).href, { method: 'PUT', body: body as Uint8Array<ArrayBuffer> | string }),
      )
    const jsonOf = async <T>(answer: Promise<Response>): Promise<T> => (await (await answer).json()) as T
    const refusalOf = async (answer: Promise<Response>): Promise<readonly [number, string, object]> => {
      const response = await answer
      const { error } = (await response.json()) as { error: { code: string; facts: object } }
      return [response.status, error.code, error.facts]
    }
    const submitted = async (object = codedObjectOf(SIZE_BYTES, seed++, CODE)): Promise<Submitted> => {
      const data = await at.submit(object.data.submission)
      return { object, data, parity: await at.submit(object.parity.submission) }
    }
    const putSegments = async (entry: Entry, slot: number, segments: readonly ProvenSegment[]): Promise<void> => {
      for (let from = 0; from < segments.length; from += 16) {
        const body = concat(encodeFrames(segments.slice(from, from + 16)))
        const answer = await put(`/v1/entries/${entry.root}/segments?seq=${entry.seq}&slot=${slot}`, body)
        expect(answer.status).toBe(200)
        await answer.arrayBuffer()
      }
    }
    const putSlots = async ({ object, data, parity }: Submitted, ...slots: readonly number[]): Promise<void> => {
      for (const slot of slots) {
        const { of, segments } = object.shardsOf(slot)
        await putSegments(of === 'data' ? data : parity, slot, segments)
      }
    }
    test('the members of a version that it knows are told, and none of another', async () => {
      const { version, members } = at.membership
      const told = await jsonOf<{ version: number; members: readonly object[] }>(get(`/v1/members?version=${version}`))
      const list = members.map((member) => ({ ...member, weight: String(member.weight) }))
      expect(told).toEqual({ version, members: list })
      const refused = await refusalOf(get(`/v1/members?version=${version + 1}`))
      expect(refused).toEqual([404, 'MEMBERSHIP_UNKNOWN', { version: version + 1 }])
    })

    const shardsPath = ({ data, parity }: Submitted, slots?: readonly number[]): string =>
      `/v1/entries/${data.root}/shards?seq=${data.seq}&parity=${parity.seq}` +
      (slots === undefined ? '' : `&slots=${bitmapOf(slots)}`)
    const paritiesOf = async ({ data }: Submitted): Promise<readonly ToldParity[]> => {
      const { entries } = await jsonOf<{ entries: { seq: number; parities: ToldParity[] }[] }>(
        get(`/v1/entries/${data.root}`),
      )
      return entries.find(({ seq }) => seq === data.seq)!.parities
    }
    const certificatePath = ({ data }: Submitted): string => `/v1/entries/${data.root}/certificate?seq=${data.seq}`
    const certified = async (one: Submitted, slots: readonly number[]): Promise<Certificate> => {
      await putSlots(one, ...slots)
      const { receipt, fingerprints } = await jsonOf<Shards>(get(shardsPath(one)))
      const { data, parity } = one
      return assembleCertificate(
        {
          chainId: at.chainId,
          registry: at.registry,
          code: CODE,
          dataRoot: data.root,
          sizeBytes: data.sizeBytes,
          entrySeq: data.seq,
          parity: { root: parity.root, seq: parity.seq },
        },
        [{ receipt, fingerprints: decodeBase64(fingerprints)! }],
        [at.membership],
      )
    }

    test('an entry names its parity, and the slots of which every shard is held', async () => {
      const one = await submitted()
      const parity = { seq: one.parity.seq, root: one.parity.root, ...CODE, proven: false }
      expect(await paritiesOf(one)).toEqual([{ ...parity, slots: '0x' }])
      await putSlots(one, 1, 5)
      expect(await paritiesOf(one)).toEqual([{ ...parity, slots: bitmapOf([1, 5]) }])
      await putSegments(one.data, 0, one.object.shardsOf(0).segments.slice(0, -1))
      expect(await paritiesOf(one)).toEqual([{ ...parity, slots: bitmapOf([1, 5]) }])
    })

    test('the log says whose parity an entry says it is', async () => {
      const { data, parity } = await submitted()
      const { entries } = await jsonOf<{ entries: { seq: number; parityOf?: string }[] }>(
        get(`/v1/entries?after=${data.seq - 1}&limit=2`),
      )
      expect(entries.map(({ seq, parityOf }) => [seq, parityOf])).toEqual([
        [data.seq, undefined],
        [parity.seq, data.root],
      ])
    })

    test('an entry that is held whole holds all data slots', async () => {
      const one = await submitted()
      await putSegments(one.data, 0, one.object.data.segments)
      expect((await paritiesOf(one))[0]!.slots).toBe(bitmapOf([0, 1, 2, 3]))
      const { receipt, fingerprints } = await jsonOf<Shards>(get(shardsPath(one)))
      expect([receipt.slots, receiptKindOf(receipt)]).toEqual([bitmapOf([0, 1, 2, 3]), 'shards'])
      expect(decodeBase64(fingerprints)).toEqual(one.object.fingerprintsOf([0, 1, 2, 3]))
    })

    test('parity of strangers does not hide the one whose shards are held', async () => {
      const object = codedObjectOf(SIZE_BYTES, seed++, CODE)
      const bogus = codedObjectOf(SIZE_BYTES, seed - 1, CODE, (parity) => parity.fill(1))
      expect(bogus.data.tree.root).toBe(object.data.tree.root)
      for (let i = 0; i < 17; i++) await at.submit(bogus.parity.submission)
      const one = await submitted(object)
      await putSlots(one, 4)
      const told = await paritiesOf(one)
      expect(told).toHaveLength(16)
      expect(told.at(-1)).toMatchObject({ seq: one.parity.seq, slots: bitmapOf([4]) })
      expect(told.map(({ seq }) => seq)).toEqual(told.map(({ seq }) => seq).sort((a, b) => a - b))
    })

    test('shards are signed for with the fingerprints of the kernels, by default all that are whole', async () => {
      const one = await submitted()
      await putSlots(one, 1, 4)
      const { receipt, fingerprints } = await jsonOf<Shards>(get(shardsPath(one)))
      verifyReceipt(receipt)
      const { root: dataRoot, seq: entrySeq, blockNumber } = one.data
      const { chainId, registry, signer } = at
      expect(receipt).toMatchObject({ chainId, registry, signer, dataRoot, entrySeq, blockNumber })
      expect(slotsOf(receipt.slots)).toEqual([1, 4])
      const bytes = decodeBase64(fingerprints)!
      checkFingerprints({ layout: one.object.layout, parityRoot: one.parity.root }, receipt, bytes)
      expect(bytes).toEqual(one.object.fingerprintsOf([1, 4]))
    })

    test('a receipt is of exactly the slots asked for, and the same question gives the same receipt', async () => {
      const one = await submitted()
      await putSlots(one, 0, 2, 5)
      const first = await jsonOf<Shards>(get(shardsPath(one, [2])))
      expect(first.receipt.slots).toBe(bitmapOf([2]))
      expect(first.receipt.fingerprintRoot).toBe(one.object.fingerprintRootOf([2]))
      const all = await jsonOf<Shards>(get(shardsPath(one)))
      expect(await jsonOf<Shards>(get(shardsPath(one, [2])))).toEqual(first)
      await putSlots(one, 4)
      expect(await jsonOf<Shards>(get(shardsPath(one, [0, 2, 5])))).toEqual(all)
    })

    test('shards that are missing are counted, and nothing is signed', async () => {
      const one = await submitted()
      const nothing = await refusalOf(get(shardsPath(one)))
      expect(nothing.slice(0, 2)).toEqual([404, 'ENTRY_INCOMPLETE'])
      await putSlots(one, 0)
      const [status, code, facts] = await refusalOf(get(shardsPath(one, [0, 1])))
      expect([status, code, facts]).toEqual([
        404,
        'ENTRY_INCOMPLETE',
        expect.objectContaining({ missingShardCount: 3 }),
      ])
    })

    test('of one slot it says how many stripes are here without a gap, in any order of their arrival', async () => {
      const one = await submitted()
      const heldOf = async (slot: number): Promise<unknown> =>
        ((await refusalOf(get(shardsPath(one, [slot]))))[2] as { heldStripeCount?: unknown }).heldStripeCount
      for (const slot of [1, 5]) {
        const { of, segments } = one.object.shardsOf(slot)
        const entry = of === 'data' ? one.data : one.parity
        expect(segments).toHaveLength(3)
        await putSegments(entry, slot, segments.slice(1, 2))
        expect(await heldOf(slot)).toBe(0)
        await putSegments(entry, slot, segments.slice(0, 1))
        expect(await heldOf(slot)).toBe(2)
      }
    })

    test('an entry that is no parity of the other is refused', async () => {
      const [one, other] = [await submitted(), await submitted()]
      await putSlots(one, 0)
      for (const parity of [other.parity, one.data])
        expect((await refusalOf(get(shardsPath({ ...one, parity })))).slice(0, 2)).toEqual([400, 'PARITY_MISMATCH'])
    })

    test.each(['0x', '0x40', '0x0000', 'zz', '0x1'])('a set of slots that is none is refused: %s', async (slots) => {
      const one = await submitted()
      const answer = refusalOf(get(`${shardsPath(one)}&slots=${slots}`))
      expect((await answer).slice(0, 2)).toEqual([400, 'PARAMETER_INVALID'])
    })

    test('a node that has not seen the parity yet waits for it', async () => {
      const object = codedObjectOf(SIZE_BYTES, seed++, CODE)
      const data = await at.submit(object.data.submission)
      await putSegments(data, 0, object.shardsOf(0).segments)
      const asked = get(`/v1/entries/${data.root}/shards?seq=${data.seq}&parity=${data.seq + 1}`)
      const parity = await at.submit(object.parity.submission)
      expect(parity.seq).toBe(data.seq + 1)
      expect(slotsOf((await jsonOf<Shards>(asked)).receipt.slots)).toEqual([0])
    })

    test('shards of a slot are read a stripe apart, in one request', async () => {
      const one = await submitted()
      await putSlots(one, 1)
      const path = `/v1/entries/${one.data.root}/segments?seq=${one.data.seq}`
      const read = await get(`${path}&from=1&count=3&step=4`)
      expect(read.status).toBe(200)
      const segments = decodeFrames(new Uint8Array(await read.arrayBuffer()), { segmentsMax: 3 })
      expect(segments.map(({ index }) => index)).toEqual([1, 5, 9])
      for (const { index, data } of segments) expect(data).toEqual(one.object.data.segments[index]!.data)
      expect((await refusalOf(get(`${path}&from=0&count=3&step=4`))).slice(0, 2)).toEqual([404, 'SEGMENT_MISSING'])
      for (const query of ['from=1&count=4&step=4', 'from=1&count=1&step=0', 'from=1&count=1&step=257'])
        expect((await refusalOf(get(`${path}&${query}`))).slice(0, 2)).toEqual([400, 'PARAMETER_INVALID'])
    })

    describe('certificates', () => {
      test('one that proves its parity is kept and given back, and the parity is proven', async () => {
        const one = await submitted()
        const certificate = await certified(one, [0, 1, 2, 3, 4])
        expect((await refusalOf(get(certificatePath(one)))).slice(0, 2)).toEqual([404, 'CERTIFICATE_UNKNOWN'])
        const told = await put(certificatePath(one), JSON.stringify(certificate))
        expect([told.status, await told.json()]).toEqual([
          200,
          { proven: true, slots: bitmapOf([0, 1, 2, 3, 4]), lossesSurvived: 0 },
        ])
        expect(await jsonOf(get(certificatePath(one)))).toEqual(certificate)
        expect(await paritiesOf(one)).toMatchObject([{ seq: one.parity.seq, proven: true }])
      })

      test('parity of other bytes is not proven by it', async () => {
        const bogus = codedObjectOf(SIZE_BYTES, seed++, CODE, (parity) => void (parity[70_000]! ^= 1))
        const one = await submitted(bogus)
        const certificate = await certified(one, [0, 1, 2, 3, 4])
        const told = await jsonOf(put(certificatePath(one), JSON.stringify(certificate)))
        expect(told).toMatchObject({ proven: false, slots: bitmapOf([0, 1, 2, 3]) })
        expect(await paritiesOf(one)).toMatchObject([{ proven: false }])
      })

      test('one that is wrong, or of another entry, is refused and not kept', async () => {
        const [one, other] = [await submitted(), await submitted()]
        const certificate = await certified(one, [0, 1, 2, 3, 4])
        const [fingerprints] = certificate.fingerprints
        const wrong: [Submitted, object][] = [
          [other, certificate],
          [one, { ...certificate, sizeBytes: SIZE_BYTES - 1 }],
          [one, { ...certificate, fingerprints: [`A${fingerprints!.slice(1)}`] }],
          [one, { ...certificate, parity: { ...certificate.parity, seq: other.parity.seq } }],
          [one, { ...certificate, registry: at.flow }],
          [one, { ...certificate, members: [] }],
          [one, { ...certificate, version: 2 }],
        ]
        for (const [entry, body] of wrong) {
          const [status, code] = await refusalOf(put(certificatePath(entry), JSON.stringify(body)))
          expect(status).toBe(400)
          expect(code).toMatch(/^(CERTIFICATE|RECEIPT)_INVALID$/)
        }
        for (const entry of [one, other])
          expect((await refusalOf(get(certificatePath(entry)))).slice(0, 2)).toEqual([404, 'CERTIFICATE_UNKNOWN'])
      })

      test('a body that is no JSON is refused', async () => {
        const one = await submitted()
        const [status, code] = await refusalOf(put(certificatePath(one), '{"version":1,'))
        expect([status, code]).toEqual([400, 'CERTIFICATE_INVALID'])
      })
    })
  })
}
