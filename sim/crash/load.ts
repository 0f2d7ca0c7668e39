import { Buffer } from 'node:buffer'
import { parseCode } from '@weightless/core'
import { createClient, download, privateKeySigner, upload, type Client } from '@weightless/sdk'
import type { Chance } from '../chance.ts'
import { content, type NetworkFile } from '../interop/network.ts'
import { downloadWithNew, downloadWithOld, uploadWithNew, uploadWithOld } from '../interop/officialClients.ts'

/** An upload that somebody was told is stored. */
export type Stored = {
  readonly root: string
  readonly sizeBytes: number
  readonly contentSeed: number
  readonly txHash: string
  readonly by: Uploader
}
export type Uploader = 'own' | 'official 1.2.8' | 'official 0.3.3'

/** Uploads and downloads of own and official clients, for as long as it is let: what is refused is tried again, what is
 *  acknowledged is written down, and a wrong byte is never forgiven. */
export type Load = {
  readonly stored: readonly Stored[]
  readonly counts: Readonly<Record<string, number>>
  readonly wrong: readonly string[]
  /** Resolves when everybody has stopped. */
  stop(): Promise<void>
}

const SIZES = [1, 5_000, 60_000, 262_145, 700_000]
/** Official clients wait for ever for what died under them. */
const STEP_MS_MAX = 45_000

export function startLoad(
  network: () => NetworkFile,
  options: { readonly chance: Chance; readonly workersPerClient?: number },
): Load {
  const { chance } = options
  const stored: Stored[] = []
  const counts: Record<string, number> = {}
  const wrong: string[] = []
  const stopping = new AbortController()
  let contentSeed = Math.floor(chance.next() * 1e6)
  const count = (name: string): void => void (counts[name] = (counts[name] ?? 0) + 1)

  const clients = new Map<number, Client>()
  function ownClient(account: number): Client {
    const { chain, contracts, accounts } = network()
    const made = clients.get(account)
    if (made !== undefined) return made
    const client = createClient({
      network: {
        rpcUrl: chain.rpcUrl,
        chainId: chain.chainId,
        flow: contracts.flow as never,
        registry: contracts.storageRegistry as never,
      },
      signer: privateKeySigner(accounts[account]!.privateKey as never),
    })
    clients.set(account, client)
    return client
  }

  async function put(by: Uploader, account: number): Promise<void> {
    const sizeBytes = SIZES[chance.below(SIZES.length)]!
    const seed = ++contentSeed
    const bytes = content(sizeBytes, seed)
    // The helpers want the network only for its file.
    const at = { dir: '', file: network(), stop: async () => undefined }
    let root: string
    let txHash: string
    if (by === 'own') {
      const { code } = network().storage
      const how = code === undefined ? {} : { code: parseCode(code) }
      const done = await upload(ownClient(account), bytes, { ...how, signal: AbortSignal.timeout(STEP_MS_MAX) })
      root = done.root
      txHash = done.txHash
    } else {
      const done = await (by === 'official 1.2.8'
        ? uploadWithNew(at, account, bytes)
        : uploadWithOld(at, account, bytes))
      root = done.rootHash
      txHash = done.txHash
    }
    stored.push({ root, sizeBytes, contentSeed: seed, txHash, by })
  }

  async function get(by: Uploader, account: number): Promise<void> {
    const one = stored[chance.below(stored.length)]!
    const at = { dir: '', file: network(), stop: async () => undefined }
    const read =
      by === 'own' && chance.below(2) === 0
        ? await readOver(network(), one.root)
        : by === 'own'
          ? await readOwn(ownClient(account), one)
          : await (by === 'official 1.2.8' ? downloadWithNew(at, one.root) : downloadWithOld(at, one.root))
    if (!Buffer.from(read).equals(content(one.sizeBytes, one.contentSeed)))
      wrong.push(`${one.root} of ${one.by} came back to ${by} with ${read.length} other bytes`)
  }

  async function work(by: Uploader, account: number): Promise<void> {
    while (!stopping.signal.aborted) {
      const isPut = stored.length < 3 || chance.below(2) === 0
      const name = `${by} ${isPut ? 'upload' : 'download'}`
      try {
        await within(STEP_MS_MAX, isPut ? put(by, account) : get(by, account), stopping.signal)
        count(name)
      } catch {
        if (stopping.signal.aborted) return
        count(`${name} refused`)
        await pause(100 + chance.below(400))
      }
    }
  }

  const workers = Array.from({ length: options.workersPerClient ?? 1 }, (_, i) => [
    work('own', 1 + i * 3),
    work('official 1.2.8', 2 + i * 3),
    work('official 0.3.3', 3 + i * 3),
  ]).flat()
  return {
    stored,
    counts,
    wrong,
    stop: async () => {
      stopping.abort()
      await Promise.all(workers)
    },
  }
}

export async function readOwn(client: Client, one: Stored): Promise<Buffer> {
  const parts: Uint8Array[] = []
  const signal = AbortSignal.timeout(STEP_MS_MAX)
  for await (const part of download(client, one.root as never, { signal })) parts.push(part)
  return Buffer.concat(parts)
}

/** Over REST, from the gateway. */
export async function readOver(file: NetworkFile, root: string): Promise<Buffer> {
  const response = await fetch(`${file.storage.gatewayUrl}/file?root=${root}`, {
    signal: AbortSignal.timeout(STEP_MS_MAX),
  })
  const body = Buffer.from(await response.arrayBuffer())
  if (response.status !== 200) throw new Error(`${response.status} ${body.toString().slice(0, 200)}`)
  return body
}

async function within<T>(ms: number, work: Promise<T>, stop: AbortSignal): Promise<T> {
  let end: () => void = () => undefined
  const bound = new Promise<never>((_, reject) => {
    const timer = setTimeout(() => reject(new Error('it took too long')), ms)
    const onStop = (): void => reject(new Error('the load is over'))
    stop.addEventListener('abort', onStop, { once: true })
    end = () => {
      clearTimeout(timer)
      stop.removeEventListener('abort', onStop)
    }
  })
  work.catch(() => undefined)
  try {
    return await Promise.race([work, bound])
  } finally {
    end()
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms))
}
