import { execFileSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connectWebSocket, systemClock } from '@weightless/host'
import { type HDAccount, mnemonicToAccount } from 'viem/accounts'
import { type AnvilEngineDeps, type AnvilEngineOptions, createAnvilEngine } from '../src/anvil/anvilEngine.ts'
import type { ChainEngine } from '../src/engine.ts'

export const MNEMONIC = 'test test test test test test test test test test test junk'
const accounts = new Map<number, HDAccount>()
/** Of the standard test mnemonic. Kept: deriving a key from words costs tens of milliseconds. */
export function account(index: number): HDAccount {
  const known = accounts.get(index)
  if (known !== undefined) return known
  const derived = mnemonicToAccount(MNEMONIC, { addressIndex: index })
  accounts.set(index, derived)
  return derived
}
export const CHAIN_ID = 31337
const PATIENCE_MS = 20_000

export async function temporaryDirectory(): Promise<{ path: string; [Symbol.asyncDispose]: () => Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'weightless-chain-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) }
}

export function engineIn(
  directory: string,
  options: Partial<AnvilEngineOptions> = {},
  deps: Partial<AnvilEngineDeps> = {},
): ChainEngine {
  const accounts = Array.from({ length: 10 }, (_, i) => account(i).address)
  return createAnvilEngine(
    { dataDir: directory, port: 0, chainId: CHAIN_ID, accounts, ...options },
    { clock: systemClock, ...deps },
  )
}

export async function eventually(check: () => Promise<boolean> | boolean): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS
  while (!(await check())) {
    if (Date.now() > deadline) throw new Error('not reached in time')
    await systemClock.sleep(20, {})
  }
}

export type Answer = {
  readonly id: unknown
  readonly result?: unknown
  readonly error?: { readonly code: number; readonly message: string; readonly data?: unknown }
}

export async function post(url: string, body: string): Promise<{ status: number; headers: Headers; body: unknown }> {
  const response = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body })
  return { status: response.status, headers: response.headers, body: JSON.parse(await response.text()) as unknown }
}

export async function ask(url: string, method: string, params: readonly unknown[] = []): Promise<Answer> {
  return (await post(url, JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }))).body as Answer
}

/** The result, or an error with the answer's text. */
export async function request(url: string, method: string, params: readonly unknown[] = []): Promise<unknown> {
  const answer = await ask(url, method, params)
  if (answer.error !== undefined) throw new Error(`${method}: ${JSON.stringify(answer.error)}`)
  return answer.result
}

export function rpcOf(url: string): { request(method: string, params: readonly unknown[]): Promise<unknown> } {
  return { request: (method, params) => request(url, method, params) }
}

export type Listener = {
  ask(method: string, params?: readonly unknown[]): Promise<Answer>
  send(text: string): void
  /** Everything that came without an id, or as an array. */
  readonly pushed: unknown[]
  readonly closed: Promise<void>
  isClosed(): boolean
  close(): void
}

export async function listen(url: string): Promise<Listener> {
  const waiting = new Map<number, (answer: Answer) => void>()
  const pushed: unknown[] = []
  let nextId = 1
  let isClosed = false
  let end: () => void = () => undefined
  const closed = new Promise<void>((resolve) => (end = resolve))
  const socket = await connectWebSocket({ url }, () => ({
    onText(text) {
      const message = JSON.parse(text) as Answer
      const known = waiting.get(message.id as number)
      if (known === undefined) pushed.push(message)
      else known(message)
    },
    onClose() {
      isClosed = true
      end()
    },
  }))
  return {
    pushed,
    closed,
    isClosed: () => isClosed,
    send: (text) => socket.send(text),
    close: () => socket.close(),
    ask: (method, params = []) =>
      new Promise((resolve) => {
        const id = nextId++
        waiting.set(id, resolve)
        socket.send(JSON.stringify({ jsonrpc: '2.0', id, method, params }))
      }),
  }
}

/** A signed transfer of one wei, or what `fields` say instead. */
export async function signed(from: HDAccount, nonce: number, fields: object = {}): Promise<string> {
  return from.signTransaction({
    type: 'eip1559',
    chainId: CHAIN_ID,
    nonce,
    gas: 21_000n,
    maxFeePerGas: 2_000_000_000n,
    maxPriorityFeePerGas: 1_000_000_000n,
    to: '0x000000000000000000000000000000000000dEaD',
    value: 1n,
    ...fields,
  })
}

/** Live processes whose command line holds `needle`. */
export function processesWith(needle: string): readonly string[] {
  return execFileSync('ps', ['-e', '-ww', '-o', 'pid=,stat=,command='], { encoding: 'utf8', maxBuffer: 64 * 1024 ** 2 })
    .split('\n')
    .filter((row) => row.includes(needle) && !/^\s*\d+\s+Z/.test(row))
}
