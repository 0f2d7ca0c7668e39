import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

/** The parts of network.json (DESIGN 3) that these tests rely on. */
export type NetworkFile = {
  readonly version: number
  readonly pid: number
  readonly chain: { readonly rpcUrl: string; readonly chainId: number }
  readonly accounts: readonly { readonly address: string; readonly privateKey: string }[]
  readonly contracts: {
    readonly flow: string
    readonly market: string
    readonly reward: string
    readonly storageRegistry: string
  }
  readonly storage: {
    readonly indexerUrl: string
    readonly gatewayUrl: string
    readonly code?: string
    readonly nodes: readonly {
      readonly id: string
      readonly url: string
      readonly pid: number | null
      readonly dataDir: string
    }[]
  }
}

export type Network = {
  readonly dir: string
  readonly file: NetworkFile
  stop(): Promise<void>
}

const binary = resolve(import.meta.dirname, '../../packages/cli/bin/weightless.js')
const READY_MS_MAX = 60_000

/** Starts the real thing, as a user would, in a directory and on ports of its own. */
export async function startNetwork(
  args: readonly string[] = [],
  dir: string = mkdtempSync(join(tmpdir(), 'weightless-')),
): Promise<Network> {
  const child = spawn(process.execPath, [binary, 'up', '--dir', dir, '--port-base', '0', '--json', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let log = ''
  child.stderr.on('data', (chunk: Buffer) => (log += chunk.toString()))
  const file = await new Promise<NetworkFile>((ready, failed) => {
    let text = ''
    const timer = setTimeout(() => failed(new Error(`not ready in ${READY_MS_MAX} ms\n${text}\n${log}`)), READY_MS_MAX)
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString()
      try {
        ready(JSON.parse(text) as NetworkFile)
        clearTimeout(timer)
      } catch {
        // The document is not complete yet.
      }
    })
    child.once('exit', (code) => failed(new Error(`up ended with ${code}\n${text}\n${log}`)))
  })
  return {
    dir,
    file,
    stop: async () => {
      await end(child)
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = new Promise((done) => child.once('exit', done))
  child.kill('SIGTERM')
  await exited
}

/** Runs one command of the CLI against a network; stdout as bytes. */
export async function weightless(
  network: Pick<Network, 'dir'>,
  args: readonly string[],
  stdin?: Uint8Array,
): Promise<CommandResult> {
  return runCommand([...args, '--dir', network.dir], stdin)
}

export type CommandResult = { readonly code: number | null; readonly stdout: Buffer; readonly stderr: string }

/** The same without a network: every argument is the caller's. */
export async function runCommand(args: readonly string[], stdin?: Uint8Array): Promise<CommandResult> {
  const child = spawn(process.execPath, [binary, ...args], { stdio: ['pipe', 'pipe', 'pipe'] })
  const out: Buffer[] = []
  let stderr = ''
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk))
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
  child.stdin.on('error', () => undefined)
  child.stdin.end(stdin)
  const code = await new Promise<number | null>((done) => child.once('close', done))
  return { code, stdout: Buffer.concat(out), stderr }
}

/** Reproducible content: xorshift32 from a seed. */
export function content(sizeBytes: number, seed: number): Uint8Array {
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

/** One raw JSON-RPC call: the text of the body as it came, and its status. */
export async function rawCall(url: string, body: string): Promise<{ status: number; text: string; type: string }> {
  const response = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body })
  return { status: response.status, text: await response.text(), type: response.headers.get('content-type') ?? '' }
}

export async function call(url: string, method: string, params: readonly unknown[]): Promise<any> {
  const { text } = await rawCall(url, JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }))
  return JSON.parse(text)
}
