import { readFileSync } from 'node:fs'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { parseAddress, preview } from '@weightless/core'
import { writeFileAtomic } from '@weightless/host'
import { fail } from './errors.ts'

/** network.json: what scripts, tests and other people's tools read (DESIGN 3). Fields are added, never renamed; the key of a
 *  part that is not built is absent. */
export type NetworkDescription = {
  readonly version: 1
  /** The `weightless up` process. */
  readonly pid: number
  readonly chain: { readonly rpcUrl: string; readonly wsUrl?: string; readonly chainId: number }
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
    /** What uploads are protected by unless they say otherwise, such as `4+2`; absent: three copies. */
    readonly code?: string
    readonly nodes: readonly StorageNodeDescription[]
  }
  /** Why the start has not stored an object and read it back; absent: it has. */
  readonly unproved?: string
}

/** `pid: null`: the process is not there. */
export type StorageNodeDescription = {
  readonly id: string
  readonly url: string
  readonly pid: number | null
  readonly dataDir: string
  /** Answers `admin_*` (docs/admin.md); absent where the path would be too long for a socket. */
  readonly adminSocket?: string
}

/** network.json is small; anything bigger is not ours. */
const NETWORK_FILE_BYTES_MAX = 1024 * 1024

export function networkFilePath(directory: string): string {
  return join(directory, 'network.json')
}

/** By rename, so that a reader never sees half a file; mode 600, because it holds the test keys. */
export async function writeNetworkFile(directory: string, network: NetworkDescription): Promise<void> {
  await writeFileAtomic(networkFilePath(directory), `${JSON.stringify(network, null, 2)}\n`, { mode: 0o600 })
}

export async function removeNetworkFile(directory: string): Promise<void> {
  await rm(networkFilePath(directory), { force: true })
}

/** The running network of this directory. Throws `NETWORK_DOWN` when there is none, also when its process has died and left
 *  the file behind. */
export async function readNetworkFile(directory: string): Promise<NetworkDescription> {
  const path = networkFilePath(directory)
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (cause) {
    throw fail('NETWORK_DOWN', { dir: directory }, { cause })
  }
  const network = parseNetwork(text)
  if (!isAlive(network.pid))
    throw fail('NETWORK_DOWN', { dir: directory, pid: network.pid, reason: 'its process is gone' })
  return network
}

/** Checks what our commands rely on. Throws `NETWORK_FILE_INVALID` with the first wrong field. */
export function parseNetwork(text: string): NetworkDescription {
  if (text.length > NETWORK_FILE_BYTES_MAX) throw fail('NETWORK_FILE_INVALID', { reason: 'too big' })
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw fail('NETWORK_FILE_INVALID', { reason: 'not JSON' }, { cause })
  }
  const network = value as NetworkDescription
  const check = (field: string, isRight: () => boolean): void => {
    let right = false
    try {
      right = isRight()
    } catch {
      // A missing parent object or a bad address: wrong all the same.
    }
    if (!right) throw fail('NETWORK_FILE_INVALID', { field, value: preview(value) })
  }
  check('version', () => network.version === 1)
  check('pid', () => Number.isSafeInteger(network.pid) && network.pid > 0)
  check('chain.rpcUrl', () => isHttpUrl(network.chain.rpcUrl))
  check('chain.chainId', () => Number.isSafeInteger(network.chain.chainId))
  check('accounts', () => network.accounts.length >= 2 && network.accounts.every((one) => isKey(one.privateKey)))
  check('contracts.flow', () => parseAddress(network.contracts.flow) !== undefined)
  check('contracts.storageRegistry', () => parseAddress(network.contracts.storageRegistry) !== undefined)
  check('storage.gatewayUrl', () => isHttpUrl(network.storage.gatewayUrl))
  check('storage.nodes', () =>
    network.storage.nodes.every((node) => typeof node.id === 'string' && isHttpUrl(node.url)),
  )
  return network
}

/** Signal 0 asks the kernel and sends nothing; EPERM means that somebody else's process has the number. A zombie is dead, though
 *  the kernel still knows it: containers often have nobody who collects orphans. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
  try {
    // "pid (name) state …"; the name may hold any character, a ")" too.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.charAt(stat.lastIndexOf(')') + 2) !== 'Z'
  } catch {
    return true
  }
}

function isHttpUrl(value: unknown): boolean {
  return typeof value === 'string' && /^https?:\/\/[^\s]+$/.test(value)
}

function isKey(value: unknown): boolean {
  return typeof value === 'string' && /^0x[0-9a-f]{64}$/.test(value)
}
