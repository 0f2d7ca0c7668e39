import {
  createClient,
  download,
  downloadBlob,
  downloadBytes,
  downloadStream,
  parseUploadStep,
  privateKeySigner,
  upload,
  verifyPrefix,
  type Client,
  type ClientOptions,
  type Source,
} from '@weightless/sdk'

// A user's page: bundled from the packed SDK by a user's bundler and run in a browser. The test calls what it puts on `page`.

/** Reproducible content, the same as in network.ts, which a browser cannot import. */
function content(sizeBytes: number, seed: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(sizeBytes)
  let x = (seed * 2654435761) >>> 0 || 1
  for (let i = 0; i < sizeBytes; i++) {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    x >>>= 0
    bytes[i] = x & 0xff
  }
  return bytes
}

async function hashOf(bytes: Uint8Array): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>))
  return [...digest].map((byte) => byte.toString(16).padStart(2, '0')).join('')
}

let client: Client

const page = {
  connect(network: ClientOptions['network'], privateKey: string): void {
    client = createClient({ network, signer: privateKeySigner(privateKey) })
  },

  async upload(kind: 'bytes' | 'blob' | 'stream', sizeBytes: number, seed: number, key?: number) {
    const bytes = content(sizeBytes, seed)
    const source: Source = kind === 'bytes' ? bytes : kind === 'blob' ? new Blob([bytes]) : new Blob([bytes]).stream()
    const { root, stage, receipts } = await upload(client, source, {
      encryption: key === undefined ? undefined : { type: 'aes256', key: new Uint8Array(32).fill(key) },
    })
    return { root, stage, receiptCount: receipts.length }
  },

  async download(
    kind: 'bytes' | 'blob' | 'stream',
    root: string,
    range?: { start: number; end: number },
    key?: number,
  ) {
    const options = {
      ...(range === undefined ? {} : { range }),
      ...(key === undefined ? {} : { decryption: { symmetricKey: new Uint8Array(32).fill(key) } }),
    }
    if (kind === 'bytes') return hashOf(await downloadBytes(client, root, options))
    const body = kind === 'blob' ? await downloadBlob(client, root, options) : downloadStream(client, root, options)
    return hashOf(new Uint8Array(await new Response(body).arrayBuffer()))
  },

  /** As docs/resume.md shows it. `diesAfter`: never returns once that step is saved. */
  async uploadInSteps(sizeBytes: number, seed: number, diesAfter?: string) {
    const photo = new Blob([content(sizeBytes, seed)])
    const saved = localStorage.getItem('photo')
    const { root, reused } = await upload(client, photo, {
      resume: saved === null ? undefined : parseUploadStep(JSON.parse(saved)),
      onStep: async (step) => {
        localStorage.setItem('photo', JSON.stringify(step))
        if (step.step === diesAfter) await new Promise(() => undefined)
      },
    })
    localStorage.removeItem('photo')
    return { root, reused, resumed: saved !== null }
  },
  savedStep: (): string | undefined => JSON.parse(localStorage.getItem('photo') ?? '{}').step,

  /** A download whose first part was kept. */
  async resumeDownload(root: string, sizeBytes: number, seed: number, keptBytes: number) {
    const kept = content(sizeBytes, seed).slice(0, keptBytes)
    const start = await verifyPrefix(client, root, {
      sizeBytes: kept.length,
      read: async (from, to) => kept.slice(from, to),
    })
    const parts = [kept.subarray(0, start)]
    for await (const part of download(client, root, { range: { start } })) parts.push(part as Uint8Array<ArrayBuffer>)
    return { start, hash: await hashOf(new Uint8Array(await new Blob(parts).arrayBuffer())) }
  },
}
Object.assign(globalThis, { page })
