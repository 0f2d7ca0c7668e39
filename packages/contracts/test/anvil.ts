import { type ChildProcess, spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import path from 'node:path'

/** A chain for tests: anvil on a free loopback port, free gas, a block only when asked for. Killed with the test. */
export async function startAnvil(options: { readonly hardfork?: string } = {}): Promise<Anvil> {
  const flags = '--no-mining --order fifo --accounts 40 --balance 1000000 --gas-limit 30000000'
  const freeGas = '--block-base-fee-per-gas 0 --gas-price 0 --disable-min-priority-fee'
  const hardfork = `--hardfork ${options.hardfork ?? 'prague'}`
  const child = spawn(binary(), `--port 0 ${flags} ${freeGas} ${hardfork}`.split(' '), {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const kill = (): void => void child.kill('SIGKILL')
  process.once('exit', kill)
  const url = await listening(child)

  let requestId = 0
  const rpc = async (method: string, params: readonly unknown[] = []): Promise<unknown> => {
    const body = JSON.stringify({ jsonrpc: '2.0', id: ++requestId, method, params })
    const response = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body })
    const answer = (await response.json()) as { result?: unknown; error?: { message: string; data?: unknown } }
    if (answer.error) throw new RpcError(answer.error.message, answer.error.data)
    return answer.result
  }
  return {
    url,
    rpc,
    accounts: (await rpc('eth_accounts')) as readonly Address[],
    async [Symbol.asyncDispose]() {
      const exited = new Promise((resolve) => child.once('exit', resolve))
      process.removeListener('exit', kill)
      kill()
      await exited
    },
  }
}

export class RpcError extends Error {
  readonly data: unknown
  constructor(message: string, data: unknown) {
    super(message)
    this.data = data
  }
}

export type Address = `0x${string}`
export type Anvil = AsyncDisposable & {
  readonly url: string
  rpc(method: string, params?: readonly unknown[]): Promise<unknown>
  readonly accounts: readonly Address[]
}

/** The prebuilt binary itself: the launcher of the package would stand between us and the process to kill. */
function binary(): string {
  const require = createRequire(import.meta.url)
  const cpu = process.arch === 'x64' ? 'amd64' : process.arch
  const manifest = require.resolve(`@foundry-rs/anvil-${process.platform}-${cpu}/package.json`)
  return path.join(path.dirname(manifest), 'bin', process.platform === 'win32' ? 'anvil.exe' : 'anvil')
}

function listening(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    child.once('error', reject)
    child.once('exit', (code) => reject(new Error(`anvil exited with ${code}: ${text}`)))
    child.stdout?.on('data', (bytes: Buffer) => {
      if (text.length > 100_000) return
      text += bytes.toString()
      const match = /Listening on (127\.0\.0\.1:\d+)/.exec(text)
      if (match) resolve(`http://${match[1]}`)
    })
  })
}
