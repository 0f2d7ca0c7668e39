import { mkdir, readFile, readdir, rm, stat, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { preview } from '@weightless/core'
import { writeFileAtomic } from '@weightless/host'
import { fail } from '../errors.ts'

/** Raised when a directory of an older weightless can no longer be read as it is. */
const FORMAT_VERSION = 1
const FORMAT_FILE = 'format.json'
/** What a start that failed early leaves behind (the lock, and what host writes on the way to it): still empty to us. */
const TRACE = /^(logs|lock(\..*)?)$/

/** Everything of a local network lives below one directory. */
export type Layout = {
  readonly top: string
  readonly lock: string
  readonly state: string
  readonly admin: string
  readonly chain: string
  readonly gateway: string
  readonly logs: string
  /** Uploads of `put` that are not done. */
  readonly uploads: string
  readonly node: (id: string) => string
  /** Keys live outside of the data directories, so that deleting data never deletes an identity. */
  readonly key: (name: string) => string
  readonly config: (role: string) => string
  readonly log: (role: string) => string
  /** Where a storage node answers `admin_*`; only this user may open it. */
  readonly socket: (role: string) => string
}

export function layoutOfDirectory(top: string): Layout {
  return {
    top,
    lock: join(top, 'lock'),
    state: join(top, 'state.json'),
    admin: join(top, 'admin.json'),
    chain: join(top, 'chain'),
    gateway: join(top, 'gateway'),
    logs: join(top, 'logs'),
    uploads: join(top, 'uploads'),
    node: (id) => join(top, 'nodes', id),
    key: (name) => join(top, 'keys', `${name}.key`),
    config: (role) => join(top, 'config', `${role}.toml`),
    log: (role) => join(top, 'logs', `${role}.log`),
    socket: (role) => join(top, 'sockets', `${role}.sock`),
  }
}

/** `new`: nothing of ours is there yet. Throws `DIRECTORY_FOREIGN` when others' files are, `DIRECTORY_TOO_NEW` when a newer
 *  weightless wrote it (with `reset` that is no obstacle: it is ours, and its content is given up). */
export async function inspectDirectory(top: string, options: { readonly reset: boolean }): Promise<'new' | 'ours'> {
  let names: string[]
  try {
    names = await readdir(top)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 'new'
    throw fail(
      'DIRECTORY_FOREIGN',
      { dir: top, reason: (error as NodeJS.ErrnoException).code ?? 'unreadable' },
      { cause: error },
    )
  }
  if (!names.includes(FORMAT_FILE)) {
    const foreign = names.filter((name) => !TRACE.test(name))
    if (foreign.length === 0) return 'new'
    throw fail('DIRECTORY_FOREIGN', { dir: top, found: preview(foreign.slice(0, 3).join(', ')) })
  }
  const version = parseFormat(await readFile(join(top, FORMAT_FILE), 'utf8'))
  if (version === undefined && !options.reset) throw fail('DIRECTORY_DAMAGED', { dir: top, file: FORMAT_FILE })
  if (version !== undefined && version > FORMAT_VERSION && !options.reset) {
    throw fail('DIRECTORY_TOO_NEW', { dir: top, version, supported: FORMAT_VERSION })
  }
  return 'ours'
}

/** What nodes hold belongs to one chain, and what is on it to one deployer: with others in their place a start would find only what
 *  follows from that. Throws `NETWORK_INCOMPLETE`. */
export async function checkWhole(layout: Layout): Promise<void> {
  const has = async (path: string): Promise<boolean> => (await readdir(path).catch(() => [])).length > 0
  const hasChain = await has(layout.chain)
  const miss = (missing: string, reason: string) => fail('NETWORK_INCOMPLETE', { dir: layout.top, missing, reason })
  if (!hasChain && ((await has(layout.gateway)) || (await has(join(layout.top, 'nodes')))))
    throw miss(layout.chain, 'what the gateway and the nodes have followed is on that chain')
  if (hasChain && !(await isThere(layout.key('deployer'))))
    throw miss(layout.key('deployer'), 'the contracts and the funds of the nodes are its')
}

/** Makes the folders, and the format file last: from here on the directory is ours. Mode 700, because keys are inside. */
export async function prepareDirectory(layout: Layout): Promise<void> {
  for (const folder of [
    layout.top,
    layout.logs,
    join(layout.top, 'keys'),
    join(layout.top, 'config'),
    join(layout.top, 'nodes'),
    join(layout.top, 'sockets'),
  ]) {
    await mkdir(folder, { recursive: true, mode: 0o700 })
  }
  await writeFileAtomic(
    join(layout.top, FORMAT_FILE),
    `${JSON.stringify({ format: 'weightless network', version: FORMAT_VERSION })}\n`,
    { mode: 0o600 },
  )
}

/** Removes all content but what the running `up` itself holds open: its lock and its own log, which is emptied. The format file
 *  goes last, so that an interrupted reset can be repeated. */
export async function resetDirectory(layout: Layout): Promise<void> {
  const names = (await readdir(layout.top)).filter((name) => !TRACE.test(name) && name !== FORMAT_FILE)
  for (const name of names) await rm(join(layout.top, name), { recursive: true, force: true })
  for (const name of await readdir(layout.logs).catch(() => [])) {
    if (name === 'up.log') await truncate(layout.log('up'))
    else await rm(join(layout.logs, name), { recursive: true, force: true })
  }
  await rm(join(layout.top, FORMAT_FILE), { force: true })
}

async function isThere(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined
}

function parseFormat(text: string): number | undefined {
  try {
    const { format, version } = JSON.parse(text) as { format?: unknown; version?: unknown }
    const isOurs = format === 'weightless network' && Number.isSafeInteger(version) && (version as number) >= 1
    return isOurs ? (version as number) : undefined
  } catch {
    return undefined
  }
}
