import { createChance, type Chance } from './chance.ts'
import { changed } from './liar.ts'
import { answering, type SimNet } from './net.ts'
import type { Trace } from './trace.ts'

/** Answers of each method that it keeps, to give them for something else. */
const KEPT_MAX = 8

/**
 * The network as a dishonest gateway uses it. To those who ask: wrong bytes and proofs, the segment of another file, "final" of what is
 * not, or nothing at all. To nodes: segments and certificates that do not hold.
 */
export function lyingGateway(net: SimNet, origin: string, seed: number, trace: Trace): SimNet {
  const chance = createChance(seed ^ 0x6a7e)
  const kept = new Map<string, string[]>()
  const answers = answering(net, async (to, request, honestly) => {
    const { url, method, headers, signal } = request
    const { pathname } = new URL(url)
    const body = request.body === null ? null : new Uint8Array(await request.arrayBuffer())
    const asked = body === null || body.length > 4096 ? pathname : methodOf(body)
    const lie = to === origin ? chance.below(6) : 0
    if (lie === 1) {
      trace.add('lying gateway', 'is silent', asked)
      return await new Promise<never>((_, reject) =>
        signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true }),
      )
    }
    const answer = await honestly(new Request(url, { method, headers, body, signal }))
    if (lie < 2 || answer.status === 204) return answer
    const bytes = new Uint8Array(await answer.arrayBuffer())
    const said = new TextDecoder().decode(bytes)
    const before = kept.get(asked) ?? []
    kept.set(asked, [...before, said].slice(-KEPT_MAX))
    trace.add('lying gateway', 'answers', asked, lie)
    const { status } = answer
    return new Response(instead(lie, { bytes, said, before, pathname }, chance), {
      status,
      headers: answer.headers,
    })
  })
  return {
    ...answers,
    get openCount() {
      return net.openCount
    },
    from: (process) => {
      const inner = net.from(process)
      return {
        fetch: async (request) => {
          const isToNode = request.method === 'PUT' && new URL(request.url).hostname.startsWith('node-')
          if (!isToNode || chance.below(3) === 0) return await inner.fetch(request)
          trace.add('lying gateway', 'sends', new URL(request.url).pathname)
          const { url, method, headers, signal } = request
          const body = damaged(new Uint8Array(await request.arrayBuffer()), chance)
          return await inner.fetch(new Request(url, { method, headers, body, signal }))
        },
      }
    },
  }
}

function instead(
  lie: number,
  about: {
    readonly bytes: Uint8Array<ArrayBuffer>
    readonly said: string
    readonly before: readonly string[]
    readonly pathname: string
  },
  chance: Chance,
): string | Uint8Array<ArrayBuffer> {
  const { bytes, said, before, pathname } = about
  switch (lie) {
    case 2:
      return before.length === 0 ? said : before[chance.below(before.length)]!
    case 3:
      return said.replaceAll('"finalized":false', '"finalized":true').replaceAll('"result":null', '"result":true')
    case 4:
      // A character of the bytes of a segment, or of a hash of its proof.
      return chance.below(2) === 0
        ? said.replace(
            /("data":")(.{0,60})./,
            (_, start: string, some: string) => `${start}${some}${'AQgw'[chance.below(4)]!}`,
          )
        : said.replace(/("lemma":\["0x).{4}/, (_, start: string) => `${start}dead`)
    default:
      return bytes.length === 0 ? said : changed(bytes, pathname, chance)
  }
}

function damaged(bytes: Uint8Array<ArrayBuffer>, chance: Chance): Uint8Array<ArrayBuffer> {
  if (bytes.length > 0) bytes[chance.below(bytes.length)]! ^= 1
  return bytes
}

function methodOf(body: Uint8Array): string {
  return /"method":"(\w+)"/.exec(new TextDecoder().decode(body))?.[1] ?? ''
}
