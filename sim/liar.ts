import { createChance } from './chance.ts'
import { answering, type SimNet } from './net.ts'
import type { Trace } from './trace.ts'

/** The network as a dishonest machine uses it: what its software answers well is often changed into something else. */
export function lying(net: SimNet, origin: string, seed: number, trace: Trace): SimNet {
  const chance = createChance(seed ^ 0x11a2)
  return answering(net, async (at, request, honestly) => {
    const answer = await honestly(request)
    if (at !== origin || !answer.ok || chance.below(3) === 0) return answer
    const bytes = new Uint8Array(await answer.arrayBuffer())
    const { pathname } = new URL(request.url)
    trace.add('liar', request.method, pathname)
    return new Response(answer.status === 204 ? null : changed(bytes, pathname, chance), {
      status: answer.status,
      headers: answer.headers,
    })
  })
}

export function changed(
  bytes: Uint8Array<ArrayBuffer>,
  path: string,
  chance: ReturnType<typeof createChance>,
): Uint8Array<ArrayBuffer> | string {
  if (path.endsWith('/segments') && bytes.length > 0 && bytes[0] !== 0x7b) {
    switch (chance.below(3)) {
      case 0:
        return bytes.subarray(0, chance.below(bytes.length))
      case 1: {
        // Past the head of the first frame: in its data or its proof.
        const from = Math.min(64, bytes.length - 1)
        bytes[from + chance.below(bytes.length - from)]! ^= 1
        return bytes
      }
      default:
        return chance.bytes(Math.min(bytes.length, 4096)) as Uint8Array<ArrayBuffer>
    }
  }
  const text = new TextDecoder().decode(bytes)
  if (text.includes('"proven":') && chance.below(2) === 0)
    return text.replace(/"proven":\w+/g, () => `"proven":${chance.below(2) === 0}`)
  if (text.includes('"fingerprints":') && chance.below(2) === 0)
    return text.replace(/("fingerprints":\[?")./, (_, start: string) => `${start}${'AQgw'[chance.below(4)]!}`)
  switch (chance.below(4)) {
    case 0:
      return text.replace(/"sizeBytes":\d+/g, () => `"sizeBytes":${1 + chance.below(100_000)}`)
    case 1:
      return text.replace(/"complete":\w+/g, () => `"complete":${chance.below(2) === 0}`)
    case 2:
      // Digits of hashes, addresses and signatures.
      return text.replace(
        /0x[0-9a-f]{8}/g,
        () =>
          `0x${chance
            .below(2 ** 32)
            .toString(16)
            .padStart(8, '0')}`,
      )
    default:
      return text.slice(0, chance.below(text.length + 1))
  }
}
