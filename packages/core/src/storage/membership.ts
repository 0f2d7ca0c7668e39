import { keccak256 } from '@weightless/kernels'
import { concat } from '../bytes.ts'
import { fail } from '../errors.ts'
import { fromHex, toHex, type Hex } from '../hex.ts'
import { ENDPOINT_BYTES_MAX, HASH_SIZE_BYTES, MEMBERS_MAX } from '../limits.ts'
import type { Member } from '../types.ts'
import { uintWord, word } from './abiWords.ts'

/** The hash that StorageRegistry keeps of a version's active set: keccak256 of the leaves in ascending id order, so a certificate
 *  is checked offline against 32 bytes (DESIGN D9). Throws `MEMBERSHIP_INVALID`. */
export function membershipHash(members: readonly Member[]): Uint8Array {
  if (members.length > MEMBERS_MAX)
    throw fail('MEMBERSHIP_INVALID', { memberCount: members.length, membersMax: MEMBERS_MAX })
  const sorted = [...members].sort((a, b) => a.id - b.id)
  sorted.forEach((member, i) => {
    if (i > 0 && sorted[i - 1]!.id === member.id)
      throw fail('MEMBERSHIP_INVALID', { reason: 'an id comes twice', id: member.id })
  })
  return keccak256(concat(sorted.map(rememberedLeaf)))
}

/** Leaves that are remembered, 0.5 KB each: every certificate brings the same lists again, and a leaf is two hashes. */
const LEAVES_MAX = 2048
const leaves = new Map<string, Uint8Array>()

function rememberedLeaf(member: Member): Uint8Array {
  // Only leaves of valid members are kept, whose fields but the last have no space in them.
  const name = `${member.id} ${member.signer} ${member.domain} ${member.weight} ${member.endpoint}`
  const known = leaves.get(name)
  if (known !== undefined) return known
  const leaf = memberLeaf(member)
  if (leaves.size >= LEAVES_MAX) leaves.delete(leaves.keys().next().value!)
  leaves.set(name, leaf)
  return leaf
}

/** keccak256(abi.encode(uint32 id, address signer, bytes32 keccak256(bytes(endpoint)), bytes32 domain, uint256 weight)), as
 *  StorageRegistry computes it. Throws `MEMBERSHIP_INVALID`. */
export function memberLeaf(member: Member): Uint8Array {
  const refuse = (reason: string) => fail('MEMBERSHIP_INVALID', { reason, id: member.id })
  if (!Number.isInteger(member.id) || member.id < 0 || member.id >= 2 ** 32) throw refuse('an id has four bytes')
  if (member.weight < 0n || member.weight >= 1n << 256n) throw refuse('a weight has 32 bytes')
  const signer = fromHex(member.signer)
  const domain = fromHex(member.domain)
  if (signer.length !== 20) throw refuse('a signer has 20 bytes')
  if (domain.length !== HASH_SIZE_BYTES) throw refuse('a domain has 32 bytes')
  const endpoint = new TextEncoder().encode(member.endpoint)
  if (endpoint.length > ENDPOINT_BYTES_MAX) throw refuse('the endpoint is too long')
  return keccak256(
    concat([uintWord(BigInt(member.id)), word(signer), keccak256(endpoint), domain, uintWord(member.weight)]),
  )
}

/** The failure domain of that name as the registry stores it: keccak256 of its UTF-8 bytes. */
export function domainOf(name: string): Hex {
  return toHex(keccak256(new TextEncoder().encode(name)))
}
