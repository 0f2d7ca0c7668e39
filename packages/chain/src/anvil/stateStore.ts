import {
  type Abortable,
  type Clock,
  type Disk,
  fromHex,
  isFailure,
  type Logger,
  type Net,
  preview,
  toHex,
} from '@weightless/core'
import { ensureDirectory, writeFileAtomic } from '@weightless/host'
import { fail } from '../errors.ts'

const FORMAT_VERSION = 1
/** One second per 25 000 transactions on a slow machine; a start or a save that takes minutes is broken. */
const STATE_MS_MAX = 300_000
/** V8 holds no longer string: the hex of 256 MiB, packed, is a history of millions of transactions. */
const STATE_BYTES_MAX: number = 256 * 1024 ** 2

/** What a chain keeps in its directory:
 *  - `chain.json`: format version, engine, chain id;
 *  - `state.json.gz`: the last saved state, as `anvil_dumpState` gives it, replaced as a whole;
 *  - `exit.json`: written by anvil itself when this process died without saving; newer, but torn if that was cut short;
 *  - `anvil.pid`: the running child. */
export function createStateStore(directory: string, deps: StateDeps): StateStore {
  const at = (name: string): string => `${directory}/${name}`
  const files = {
    meta: at('chain.json'),
    saved: at('state.json.gz'),
    exit: at('exit.json'),
    pid: at('anvil.pid'),
    log: at('anvil.log'),
  }

  async function open(chainId: number, { signal }: Abortable): Promise<void> {
    await ensureDirectory(directory, { signal })
    const bytes = await readFile(files.meta, deps.disk)
    if (bytes === undefined) {
      await writeFileAtomic(files.meta, `${JSON.stringify({ version: FORMAT_VERSION, engine: 'anvil', chainId })}\n`, {
        signal,
      })
      return
    }
    const meta = parseMeta(bytes)
    if (meta === undefined) throw fail('CHAIN_DIRECTORY_INVALID', { file: files.meta })
    if (meta.version > FORMAT_VERSION)
      throw fail('CHAIN_DIRECTORY_NEWER', { directory, version: meta.version, supported: FORMAT_VERSION })
    if (meta.chainId !== chainId) throw fail('CHAIN_ID_DIFFERENT', { directory, found: meta.chainId, wanted: chainId })
  }

  async function load(url: string, options: Abortable): Promise<'loaded' | 'fresh'> {
    let broken: string | undefined
    for (const file of [files.exit, files.saved]) {
      const bytes = await readFile(file, deps.disk)
      if (bytes === undefined) continue
      try {
        await callAnvil(url, 'anvil_loadState', [toHex(bytes)], deps, options)
      } catch (error) {
        if (!isFailure(error, 'CHAIN_CALL_FAILED')) throw error
        deps.logger?.warn('chain.stateRefused', { file, error })
        broken ??= file
        continue
      }
      if (file === files.exit) await save(url, options)
      else await removeExit()
      return 'loaded'
    }
    if (broken !== undefined) throw fail('CHAIN_STATE_BROKEN', { file: broken })
    return 'fresh'
  }

  async function save(url: string, options: Abortable): Promise<void> {
    const dump = await callAnvil(url, 'anvil_dumpState', [], deps, options)
    if (typeof dump !== 'string' || dump.length < 4)
      throw fail('CHAIN_CALL_FAILED', { method: 'anvil_dumpState', message: preview(dump) })
    await writeFileAtomic(files.saved, fromHex(dump), options)
    // Older than what was saved just now, so it must not be taken for the newer one.
    await removeExit()
  }

  async function removeExit(): Promise<void> {
    if ((await deps.disk.stat(files.exit)) !== undefined) await deps.disk.remove(files.exit)
  }

  return { files, open, load, save }
}

export type StateDeps = {
  readonly disk: Disk
  readonly net: Net
  readonly clock: Clock
  readonly logger?: Logger | undefined
}

export type StateStore = {
  readonly files: { readonly saved: string; readonly exit: string; readonly pid: string; readonly log: string }
  /** Makes the directory, or checks that it is ours. Throws `CHAIN_DIRECTORY_NEWER`, `CHAIN_DIRECTORY_INVALID`, `CHAIN_ID_DIFFERENT`. */
  open(chainId: number, options: Abortable): Promise<void>
  /** Puts the newest whole state into a freshly started anvil. Throws `CHAIN_STATE_BROKEN` when there is one and none is whole. */
  load(url: string, options: Abortable): Promise<'loaded' | 'fresh'>
  save(url: string, options: Abortable): Promise<void>
}

function parseMeta(bytes: Uint8Array): { readonly version: number; readonly chainId: number } | undefined {
  try {
    const { version, engine, chainId } = JSON.parse(new TextDecoder().decode(bytes)) as { [name: string]: unknown }
    if (typeof version !== 'number' || typeof chainId !== 'number') return undefined
    // A newer version may name its engine otherwise; its number says what to do.
    return version > FORMAT_VERSION || engine === 'anvil' ? { version, chainId } : undefined
  } catch {
    return undefined
  }
}

async function readFile(path: string, disk: Disk): Promise<Uint8Array | undefined> {
  const found = await disk.stat(path)
  if (found === undefined) return undefined
  if (found.sizeBytes > STATE_BYTES_MAX)
    throw fail('CHAIN_STATE_BROKEN', { file: path, sizeBytes: found.sizeBytes, sizeBytesMax: STATE_BYTES_MAX })
  const bytes = new Uint8Array(found.sizeBytes)
  const file = await disk.open(path, { create: false })
  try {
    await file.read(bytes, 0)
  } finally {
    await file.close()
  }
  return bytes
}

/** Over HTTP: a WebSocket frame of anvil holds 16 MiB, a state may be larger. */
async function callAnvil(
  url: string,
  method: string,
  params: readonly unknown[],
  deps: StateDeps,
  { signal: given }: Abortable,
): Promise<unknown> {
  const deadline = deps.clock.deadline(STATE_MS_MAX)
  const signal = given === undefined ? deadline : AbortSignal.any([given, deadline])
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })
  let answer: { readonly result?: unknown; readonly error?: { readonly code?: unknown; readonly message?: unknown } }
  try {
    const response = await deps.net.fetch(
      new Request(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body, signal }),
    )
    // Our own child answers: what it holds in memory fits ours.
    answer = JSON.parse(await response.text()) as typeof answer
  } catch (cause) {
    if (given?.aborted) throw given.reason
    throw fail('CHAIN_UNAVAILABLE', { reason: `no answer to ${method}` }, { cause })
  }
  if (answer.error === undefined) return answer.result
  throw fail('CHAIN_CALL_FAILED', {
    method,
    rpcCode: Number(answer.error.code),
    message: preview(answer.error.message),
  })
}
