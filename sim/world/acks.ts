import { parseParityTags, type Entry, type ParityTags } from '@weightless/core'
import { decodeSubmitLog } from '@weightless/sdk'
import { isSubmit, type SimLog } from '../chain.ts'
import type { Ack } from '../checkers.ts'
import { addressOf } from '../machine.ts'
import { OPERATOR, type World } from './state.ts'

/** What was acknowledged, each entry once under each code, with the most that was said of it, by the number that it has now; what is on chain no
 *  more is a violation. */
export function acksOnChain(world: World): readonly Ack[] {
  const { checker } = world
  const told = new Map<string, Ack>()
  for (const one of checker.acks) {
    const ack = onChain(world, one)
    if (ack === undefined) {
      checker.violation('lost', `entry ${one.seq} of ${one.root} is not on chain`)
      continue
    }
    const key = `${ack.root} ${ack.seq} ${ack.bytes.length} ${JSON.stringify(ack.certificate?.code ?? null)}`
    const known = told.get(key)
    told.set(key, { ...ack, signers: [...new Set([...ack.signers, ...(known?.signers ?? [])])] })
  }
  return [...told.values()]
}

/** Parity entries that the operator of the gateway has paid for. */
export function parityOfGateway(
  chain: World['chain'],
): readonly { readonly tags: ParityTags; readonly parity: Entry }[] {
  const operator = addressOf(OPERATOR)
  return entriesOn(chain).flatMap((parity) => {
    const tags = parity.sender === operator ? parseParityTags(parity.tags) : undefined
    return tags === undefined ? [] : [{ tags, parity }]
  })
}

const decoded = new WeakMap<SimLog, Entry>()

/** The entries of the chain as it stands; a log never changes, so each is read once. */
function entriesOn(chain: World['chain']): readonly Entry[] {
  return chain
    .logs()
    .filter(isSubmit)
    .map((log) => {
      const entry = decoded.get(log) ?? decodeSubmitLog(log)
      decoded.set(log, entry)
      return entry
    })
}

/** A reorganisation may have given the entry another number; the simulated ones drop no transaction. */
function onChain({ chain, reorgs }: World, ack: Ack): Ack | undefined {
  if (reorgs === 0) return ack
  const entries = entriesOn(chain)
  const same = entries.filter(({ root, sizeBytes }) => root === ack.root && sizeBytes === ack.bytes.length)
  const entry = same.find(({ seq }) => seq === ack.seq) ?? same[0]
  if (entry === undefined) return undefined
  const { certificate } = ack
  if (certificate?.parity == null) return { ...ack, seq: entry.seq }
  // Its parity has another number as well.
  const { root, seq } = certificate.parity
  const parities = entries.filter((one) => one.root === root && parseParityTags(one.tags)?.dataRoot === ack.root)
  const parity = parities.find((one) => one.seq === seq) ?? parities[0]
  if (parity === undefined) return undefined
  return { ...ack, seq: entry.seq, certificate: { ...certificate, parity: { root, seq: parity.seq } } }
}
