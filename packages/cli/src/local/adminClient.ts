import { readFile } from 'node:fs/promises'
import { Failure } from '@weightless/core'
import { fail } from '../errors.ts'
import { isAlive } from '../networkFile.ts'
import type { AdminFile } from './admin.ts'
import { layoutOfDirectory } from './directory.ts'

/** A status of 32 nodes takes some kilobytes. */
const ADMIN_ANSWER_BYTES_MAX = 4 * 1024 * 1024

/** Speaks to the `up` process of a directory. */
export type AdminClient = {
  readonly pid: number
  request<T>(
    method: 'GET' | 'POST',
    path: string,
    options: { readonly signal: AbortSignal; readonly body?: unknown },
  ): Promise<T>
}

/** `undefined` when no `up` lives for this directory. Throws `ADMIN_REFUSED` when its token cannot be read. */
export async function openAdmin(directory: string): Promise<AdminClient | undefined> {
  let file: AdminFile
  try {
    file = parseAdminFile(await readFile(layoutOfDirectory(directory).admin, 'utf8'))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw fail('ADMIN_REFUSED', { dir: directory }, { cause: error })
  }
  if (!isAlive(file.pid)) return undefined
  return { pid: file.pid, request: (method, path, options) => send(file, method, path, options) }
}

async function send<T>(
  file: AdminFile,
  method: string,
  path: string,
  options: { readonly signal: AbortSignal; readonly body?: unknown },
): Promise<T> {
  let response: Response
  let text: string
  try {
    response = await fetch(`${file.url}${path}`, {
      method,
      headers: { authorization: `Bearer ${file.token}` },
      signal: options.signal,
      ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
    })
    text = await response.text()
  } catch (cause) {
    if (options.signal.aborted) throw options.signal.reason
    throw fail('NETWORK_DOWN', { pid: file.pid, reason: 'it does not answer' }, { cause })
  }
  if (text.length > ADMIN_ANSWER_BYTES_MAX)
    throw fail('NETWORK_DOWN', { pid: file.pid, reason: 'its answer is too long' })
  const answer = JSON.parse(text) as T & {
    error?: { code: string; facts: Record<string, string>; next: string; retryable: boolean }
  }
  if (response.ok) return answer
  const { code, facts, next, retryable } = answer.error!
  throw new Failure(code, { next, retryable, blame: 'none' }, facts)
}

function parseAdminFile(text: string): AdminFile {
  const { pid, url, token } = JSON.parse(text) as AdminFile
  if (!Number.isSafeInteger(pid) || pid < 1 || typeof token !== 'string' || !/^http:\/\/127\.0\.0\.1:\d+$/.test(url)) {
    throw new TypeError('admin.json is not ours')
  }
  return { pid, url, token }
}
