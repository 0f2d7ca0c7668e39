import {
  assembleCertificate,
  certificateFromJson,
  decodeBase64,
  encodeParityTags,
  equal,
  fromHex,
  parityFits,
  parseParityTags,
  verifyCertificate,
} from '@weightless/core'
import vectors from '../../vectors/shards.json' with { type: 'json' }
import { insist, outcomeOf, type FuzzTarget } from '../engine.ts'
import { withJson } from './core.ts'

const parityTags: FuzzTarget = {
  name: 'parity-tags',
  from: 'whoever submits an entry',
  kind: 'bytes',
  corpus: vectors.tags.map(({ tags }) => fromHex(tags)),
  run: (input) => {
    const read = parseParityTags(input)
    if (read === undefined) return 'none of ours'
    insist(equal(encodeParityTags(read), input), 'what is read is written so')
    return parityFits({ sizeBytes: 10 * 262_144 }, read) ? 'fits' : 'does not fit'
  },
}

const certificates = vectors.certificates.map(certificateFromJson)
const hashes = new Map(vectors.membershipHashes.map(({ version, hash }) => [version, fromHex(hash)]))
const signed = new Set(
  certificates.flatMap(({ receipts, fingerprints }) =>
    receipts.map((receipt, i) => JSON.stringify([receipt, fingerprints[i]])),
  ),
)
const [good] = certificates
const shorter = assembleCertificate(
  good!,
  good!.receipts.slice(1, 3).map((receipt, i) => ({ receipt, fingerprints: decodeBase64(good!.fingerprints[i + 1]!) })),
  good!.members.map(({ version, members }) => ({
    version,
    members: members.map((member) => ({ ...member, weight: BigInt(member.weight) })),
  })),
)

const certificate: FuzzTarget = {
  name: 'certificates',
  from: 'whoever says that an object is durable',
  kind: 'json',
  corpus: [...certificates, shorter].map((value) => JSON.stringify(value)),
  words: ['null', '{"k":4,"m":2}', '"weight":"0"', '"version":6', `"${good!.fingerprints[1]}"`, '0x', '262145'],
  run: (input) =>
    withJson(input, (value) => {
      let read: ReturnType<typeof certificateFromJson> | undefined
      const word = outcomeOf(() => (read = certificateFromJson(value)))
      if (read === undefined) return word.replace(/( of | is | no |number|hex).*/, '$1')
      const text = JSON.stringify(read)
      insist(JSON.stringify(certificateFromJson(JSON.parse(text))) === text, 'what is read is read again')
      // What can be read is one input in a hundred, so all of it is verified.
      const { chainId, registry } = good!
      let facts: ReturnType<typeof verifyCertificate> | undefined
      const verified = outcomeOf(
        () =>
          (facts = verifyCertificate(read!, {
            chainId,
            registry,
            membershipHashOf: (version) => hashes.get(version),
          })),
      )
      if (facts === undefined) return `verified: ${verified.replace(/(there are|number).*/, '$1')}`
      const parts = read.receipts.map((receipt, i) => JSON.stringify([receipt, read!.fingerprints[i]]))
      insist(
        parts.every((part) => signed.has(part)),
        'nothing is proven but what was signed',
      )
      insist(facts.holders.length === new Set(parts).size, 'a holder counts once')
      return `durable: ${facts.isDurable}, survives ${facts.lossesSurvived}`
    }),
}

export const erasureTargets: readonly FuzzTarget[] = [parityTags, certificate]
