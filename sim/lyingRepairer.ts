import {
  assembleCertificate,
  bitmapOf,
  certificateFromJson,
  decodeBase64,
  encodeBase64,
  fingerprintRootOf,
  fingerprintsSizeOf,
  isFailure,
  NO_FINGERPRINTS,
  parseParityTags,
  receiptSigner,
  shardCountOf,
  shardLayoutOf,
  slotsOf,
  type Certificate,
  type Entry,
  type HeldReceipt,
  type Hex,
  type Kernels,
  type ReceiptSigner,
  type Root,
} from '@weightless/core'
import { decodeSubmitLog } from '@weightless/sdk'
import { isSubmit, type SimChain } from './chain.ts'
import { createChance, type Chance } from './chance.ts'
import { answering, type SimNet } from './net.ts'
import type { Trace } from './trace.ts'

/**
 * The network as a member uses it that repairs dishonestly: whatever it is asked, it says that it has it, and signs for it. Its
 * receipts are of the right form and under its own key; their fingerprints are made up, or copied from what honest holders signed, and
 * the shards are not there when somebody wants them. Into
 * certificates it puts itself in the place of another holder.
 */
export function lyingRepairer(
  net: SimNet,
  at: { readonly origin: string; readonly key: Uint8Array; readonly seed: number; readonly copies: boolean },
  deps: { readonly chain: SimChain; readonly trace: Trace },
): SimNet {
  const { origin } = at
  const { chain, trace } = deps
  const chance = createChance(at.seed ^ 0x2e9a)
  const signer = receiptSigner(at.key)
  return answering(net, async (to, request, honestly) => {
    const { pathname, searchParams: query } = new URL(request.url)
    const [, , kind, root, part] = pathname.split('/')
    const isAsked =
      to === origin && request.method === 'GET' && kind === 'entries' && (part === 'segments' || chance.below(4) > 0)
    if (!isAsked) return await honestly(request)
    if (part === 'segments') {
      trace.add('liar', 'has no segments')
      const error = { code: 'SEGMENT_MISSING', message: 'SEGMENT_MISSING', retryable: false, facts: {} }
      return new Response(JSON.stringify({ error }), {
        status: 404,
        headers: { 'content-type': 'application/json' },
      })
    }
    const ask = (path: string): Promise<Response> =>
      honestly(new Request(`${origin}${path}`, { signal: request.signal }))
    const { copies } = at
    const liar: Liar = {
      copies,
      chain,
      chance,
      signer,
      certificateOf: async (seq) => await certificateAt(ask, root!, seq),
    }
    const lie = await lieOf(liar, { root: root as Root, part, query }, () => honestly(request))
    if (lie === undefined) return await honestly(request)
    trace.add('liar', 'signs', part ?? 'entry')
    return new Response(JSON.stringify(lie), { headers: { 'content-type': 'application/json' } })
  })
}

/** A machine that rebuilds shards wrongly. */
export function wrongRebuilds(kernels: Kernels): Kernels {
  return {
    ...kernels,
    async recover(recovery, options) {
      await kernels.recover(recovery, options)
      for (const { into } of recovery.wanted) into[0]! ^= 1
    },
  }
}

type Liar = {
  /** Takes fingerprints from what others signed, where it can. */
  readonly copies: boolean
  readonly chain: SimChain
  readonly chance: Chance
  readonly signer: ReceiptSigner
  /** What its own software keeps. */
  certificateOf(seq: number): Promise<Certificate | undefined>
}
type Asked = { readonly root: Root; readonly part: string | undefined; readonly query: URLSearchParams }

/** What it says instead; `undefined` where it has nothing to lie about. */
async function lieOf(liar: Liar, asked: Asked, honestly: () => Promise<Response>): Promise<unknown> {
  const { root, part, query } = asked
  const seq = Number(query.get('seq'))
  switch (part) {
    case undefined: {
      const answer = await honestly()
      if (!answer.ok) return undefined
      // Everything is whole here, in every slot.
      const text = (await answer.text()).replaceAll('"complete":false', '"complete":true')
      return JSON.parse(text.replaceAll(/"slots":"0x[0-9a-f]+"/g, '"slots":"0x3f"')) as unknown
    }
    case 'receipt': {
      const data = entryOf(liar.chain, root, seq)
      const slot = Number(query.get('slot') ?? 0)
      return data && sign(liar, data, bitmapOf([slot]), NO_FINGERPRINTS)
    }
    case 'shards': {
      const slots = query.get('slots')
      const held =
        slots === null ? undefined : await claim(liar, { root, seq }, Number(query.get('parity')), slots as Hex)
      return held && { receipt: held.receipt, fingerprints: encodeBase64(held.fingerprints) }
    }
    case 'certificate':
      return await usurped(liar, { root, seq })
    default:
      return undefined
  }
}

function entryOf(chain: SimChain, root: Root, seq: number): Entry | undefined {
  const found = chain.logs().filter(isSubmit).map(decodeSubmitLog)
  return found.find((entry) => entry.root === root && entry.seq === seq)
}

function sign({ chain, signer }: Liar, data: Entry, slots: Hex, fingerprintRoot: Hex) {
  let registryVersion = 0
  while (chain.membershipHashOf(registryVersion + 1) !== undefined) registryVersion += 1
  const { chainId, registry } = chain
  const about = { dataRoot: data.root, entrySeq: data.seq, blockNumber: data.blockNumber }
  return signer.sign({ chainId, registry, registryVersion, ...about, slots, fingerprintRoot })
}

async function claim(
  liar: Liar,
  of: { readonly root: Root; readonly seq: number },
  paritySeq: number,
  bitmap: Hex,
): Promise<{ readonly receipt: HeldReceipt['receipt']; readonly fingerprints: Uint8Array } | undefined> {
  const data = entryOf(liar.chain, of.root, of.seq)
  const parity = liar.chain
    .logs()
    .filter(isSubmit)
    .map(decodeSubmitLog)
    .find(({ seq }) => seq === paritySeq)
  const tags = parity && parseParityTags(parity.tags)
  const layout = data && tags && shardLayoutOf(data.sizeBytes, tags.code)
  if (data === undefined || parity === undefined || layout === undefined) return undefined
  const slots = slotsOf(bitmap)
  if (slots.some((slot) => shardCountOf(layout, slot) === 0)) return undefined
  const certificate = !liar.copies ? undefined : await liar.certificateOf(of.seq)
  const at = certificate?.receipts.findIndex((receipt) => receipt.slots === bitmapOf(slots)) ?? -1
  const sizeBytes = fingerprintsSizeOf(layout, slots)
  const copied = at < 0 ? undefined : decodeBase64(certificate!.fingerprints[at]!)
  const fingerprints = copied?.length === sizeBytes ? copied : liar.chance.bytes(sizeBytes)
  const fingerprintRoot = fingerprintRootOf({ layout, parityRoot: parity.root, slots }, fingerprints)
  return { receipt: sign(liar, data, bitmapOf(slots), fingerprintRoot), fingerprints }
}

/** The certificate that its software keeps, with itself in the place of one holder. */
async function usurped(
  liar: Liar,
  of: { readonly root: Root; readonly seq: number },
): Promise<Certificate | undefined> {
  const certificate = await liar.certificateOf(of.seq)
  if (certificate?.parity == null) return undefined
  const { receipts, fingerprints, parity } = certificate
  const victim = liar.chance.below(receipts.length)
  const held = await claim(liar, of, parity.seq, receipts[victim]!.slots as Hex)
  if (held === undefined) return undefined
  const others = receipts.flatMap((receipt, i) =>
    i === victim || receipt.signer === liar.signer.address
      ? []
      : [{ receipt, fingerprints: decodeBase64(fingerprints[i]!) }],
  )
  const all = [...others, held]
  const versions = [...new Set(all.map(({ receipt }) => receipt.registryVersion))]
  return assembleCertificate(
    certificate,
    all,
    versions.map((version) => ({ version, members: liar.chain.membersAt(version) })),
  )
}

async function certificateAt(
  ask: (path: string) => Promise<Response>,
  root: string,
  seq: number,
): Promise<Certificate | undefined> {
  const answer = await ask(`/v1/entries/${root}/certificate?seq=${seq}`)
  try {
    return answer.ok ? certificateFromJson(await answer.json()) : undefined
  } catch (error) {
    if (isFailure(error)) return undefined
    throw error
  }
}
