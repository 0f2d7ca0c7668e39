import { createHash, randomBytes } from 'node:crypto'
import { link, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Abortable } from '@weightless/core'
import { fail } from './errors.ts'
import { ensureDirectory } from './files.ts'

/** Keeps a directory for this process alone until `release` or the end of the process; a lock whose process is gone is taken
 *  over. Throws `DIRECTORY_IN_USE` with the pid that holds it. */
export async function lockDirectory(path: string, options: LockOptions = {}): Promise<DirectoryLock> {
  options.signal?.throwIfAborted()
  await ensureDirectory(path)
  const lock = join(path, options.name ?? 'lock')
  const unique = `${lock}.${process.pid}.${randomBytes(6).toString('hex')}`
  const mine = `${JSON.stringify({ pid: process.pid, startedAt: (await startOf(process.pid)) ?? null, nonce: randomBytes(8).toString('hex') })}\n`
  await writeFile(unique, mine, { mode: 0o600, flag: 'wx' })
  try {
    const holder = await acquire({ lock, unique }, options)
    if (holder !== undefined) throw fail('DIRECTORY_IN_USE', { path, pid: holder.pid })
    return held(lock, mine)
  } finally {
    await rm(unique, { force: true })
  }
}

export type LockOptions = Abortable & {
  /** File name inside the directory. Default `lock`. */ readonly name?: string | undefined
}
export type DirectoryLock = AsyncDisposable & { release(): Promise<void> }

/** Each attempt that fails means that another process made progress; a wait for one that removes a stale lock is this long. */
const ATTEMPTS_MAX = 200
const RETRY_MS = 5

/** Gives `lock` the content of `unique`. Resolves to who lives and holds it, or to nothing when it is ours.
 *
 *  A stale lock is removed only under a lock of its own, named by its content: whoever holds that one is alone in removing this
 *  very content, so no fresh lock is ever removed by a process that has looked at an older one. */
async function acquire(
  names: { readonly lock: string; readonly unique: string },
  options: Abortable,
): Promise<Holder | undefined> {
  const { lock, unique } = names
  let last: Holder = { pid: 0, startedAt: null }
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    options.signal?.throwIfAborted()
    if (await linked(unique, lock)) return undefined
    const found = await contentOf(lock)
    if (found === undefined) continue
    const holder = parseHolder(found)
    if (holder !== undefined && (await isAlive(holder))) return holder
    const removal = `${lock}.${createHash('sha256').update(found).digest('hex').slice(0, 16)}`
    const other = await acquire({ lock: removal, unique }, options)
    if (other === undefined) {
      if ((await contentOf(lock)) === found) await rm(lock, { force: true })
      await rm(removal, { force: true })
    } else {
      last = other
      await delay(RETRY_MS, undefined, options.signal === undefined ? {} : { signal: options.signal })
    }
  }
  return last
}

function held(lock: string, mine: string): DirectoryLock {
  const release = async (): Promise<void> => {
    if ((await contentOf(lock)) === mine) await rm(lock, { force: true })
  }
  return { release, [Symbol.asyncDispose]: release }
}

/** A link with its content appears as a whole, or not at all when the name is taken. */
async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw fail(
      'DIRECTORY_FAILED',
      { path: to, reason: (error as NodeJS.ErrnoException).code ?? 'unknown' },
      { cause: error },
    )
  }
}

async function contentOf(lock: string): Promise<string | undefined> {
  return readFile(lock, 'utf8').catch(() => undefined)
}

type Holder = { readonly pid: number; readonly startedAt: string | null }

function parseHolder(text: string): Holder | undefined {
  try {
    const { pid, startedAt } = JSON.parse(text) as { pid?: unknown; startedAt?: unknown }
    if (!Number.isSafeInteger(pid) || (pid as number) < 1) return undefined
    return { pid: pid as number, startedAt: typeof startedAt === 'string' ? startedAt : null }
  } catch {
    return undefined
  }
}

async function isAlive(holder: Holder): Promise<boolean> {
  try {
    process.kill(holder.pid, 0)
  } catch (error) {
    // EPERM: it lives, and belongs to another user.
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false
  }
  if (process.platform !== 'linux') return true
  const started = await startOf(holder.pid)
  // Pids are used again: another start means another process. A zombie has no start here and holds nothing.
  return started !== undefined && (holder.startedAt === null || started === holder.startedAt)
}

/** Boot and clock tick at which a process started: with its pid, its identity. Linux only; `undefined` elsewhere. */
async function startOf(pid: number): Promise<string | undefined> {
  if (process.platform !== 'linux') return undefined
  try {
    const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()
    const text = await readFile(`/proc/${pid}/stat`, 'utf8')
    // The name in brackets may hold anything, so fields are counted from its end: state is the first, start time the 20th (proc(5)).
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : `${boot}:${fields[19]}`
  } catch {
    return undefined
  }
}
