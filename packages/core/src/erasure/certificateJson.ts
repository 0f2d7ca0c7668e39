import { fail, preview } from '../errors.ts'
import type { Address, Hex, Root } from '../hex.ts'
import {
  CERTIFICATE_FINGERPRINT_BYTES_MAX,
  CERTIFICATE_RECEIPTS_MAX,
  ENDPOINT_BYTES_MAX,
  HASH_SIZE_BYTES,
  MEMBERS_MAX,
} from '../limits.ts'
import { receiptFromJson } from '../storage/receipt.ts'
import type { Membership } from '../types.ts'
import type { Certificate, CertificateMember, CertificateMembers } from './certificate.ts'
import { isCode, type ErasureCode } from './code.ts'

/** Reads a certificate from outside: exact types, hex in any case, all counts and sizes bounded; fields it does not know are
 *  dropped. What it says is for `verifyCertificate`. Throws `CERTIFICATE_INVALID`, and `RECEIPT_INVALID` for one of its receipts. */
export function certificateFromJson(value: unknown): Certificate {
  const fields = fieldsOf(value, 'the certificate')
  if (fields.value('version') !== 1) throw refuse('the version is not 1', fields.value('version'))
  const receipts = fields.array('receipts', CERTIFICATE_RECEIPTS_MAX).map(receiptFromJson)
  const fingerprints = fields.array('fingerprints', CERTIFICATE_RECEIPTS_MAX).map((text) => {
    if (typeof text !== 'string') throw refuse('fingerprints are no text', text)
    return text
  })
  const fingerprintChars = fingerprints.reduce((sum, text) => sum + text.length, 0)
  if (fingerprintChars > (CERTIFICATE_FINGERPRINT_BYTES_MAX / 3) * 4 + 4 * CERTIFICATE_RECEIPTS_MAX)
    throw fail('CERTIFICATE_INVALID', { reason: 'too many fingerprints', fingerprintChars })
  return {
    version: 1,
    chainId: fields.number('chainId'),
    registry: fields.hex('registry', 20) as Address,
    code: fields.value('code') === null ? null : codeFromJson(fields.value('code')),
    dataRoot: fields.hex('dataRoot', HASH_SIZE_BYTES) as Root,
    sizeBytes: fields.number('sizeBytes'),
    entrySeq: fields.number('entrySeq'),
    parity: fields.value('parity') === null ? null : parityFromJson(fields.value('parity')),
    receipts,
    fingerprints,
    members: fields.array('members', CERTIFICATE_RECEIPTS_MAX).map(membersFromJson),
  }
}

function codeFromJson(value: unknown): ErasureCode {
  const fields = fieldsOf(value, 'the code')
  const code = { k: fields.number('k'), m: fields.number('m') }
  if (!isCode(code)) throw refuse('the code is none', value)
  return code
}

function parityFromJson(value: unknown): { readonly root: Root; readonly seq: number } {
  const fields = fieldsOf(value, 'the parity')
  return { root: fields.hex('root', HASH_SIZE_BYTES) as Root, seq: fields.number('seq') }
}

/** Reads a member list that a node tells; whether it is that of its version, the registry's hash says. Throws `CERTIFICATE_INVALID`. */
export function membershipFromJson(value: unknown): Membership {
  const { version, members } = membersFromJson(value)
  return { version, members: members.map((member) => ({ ...member, weight: BigInt(member.weight) })) }
}

function membersFromJson(value: unknown): CertificateMembers {
  const fields = fieldsOf(value, 'a member list')
  return { version: fields.number('version'), members: fields.array('members', MEMBERS_MAX).map(memberFromJson) }
}

function memberFromJson(value: unknown): CertificateMember {
  const fields = fieldsOf(value, 'a member')
  const id = fields.number('id')
  const endpoint = fields.value('endpoint')
  const weight = fields.value('weight')
  if (id >= 2 ** 32) throw refuse('an id has four bytes', id)
  if (typeof endpoint !== 'string' || endpoint.length > ENDPOINT_BYTES_MAX)
    throw refuse(`the endpoint is no text of at most ${ENDPOINT_BYTES_MAX} bytes`, endpoint)
  if (typeof weight !== 'string' || !/^(?:0|[1-9][0-9]{0,77})$/.test(weight))
    throw refuse('the weight is no number in decimal', weight)
  return {
    id,
    signer: fields.hex('signer', 20) as Address,
    endpoint,
    domain: fields.hex('domain', HASH_SIZE_BYTES),
    weight,
  }
}

/** Fields of an object from outside, by name and type. */
type Fields = {
  value(name: string): unknown
  number(name: string): number
  hex(name: string, sizeBytes: number): Hex
  array(name: string, countMax: number): readonly unknown[]
}

function fieldsOf(value: unknown, what: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw refuse(`${what} is no object`, value)
  const read = (name: string): unknown => (value as { readonly [name: string]: unknown })[name]
  return {
    value: read,
    number(name) {
      const field = read(name)
      if (typeof field === 'number' && Number.isSafeInteger(field) && field >= 0) return field + 0 // JSON has a -0
      throw refuse(`${name} of ${what} is no whole number`, field)
    },
    hex(name, sizeBytes) {
      const field = read(name)
      if (typeof field === 'string' && field.length === 2 + 2 * sizeBytes && /^0x[0-9a-fA-F]*$/.test(field))
        return field.toLowerCase() as Hex
      throw refuse(`${name} of ${what} is no hex of ${sizeBytes} bytes`, field)
    },
    array(name, countMax) {
      const field = read(name)
      if (Array.isArray(field) && field.length <= countMax) return field as readonly unknown[]
      throw refuse(`${name} of ${what} is no list of at most ${countMax}`, Array.isArray(field) ? field.length : field)
    },
  }
}

function refuse(reason: string, value: unknown): ReturnType<typeof fail> {
  return fail('CERTIFICATE_INVALID', { reason, value: preview(value) })
}
