import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'

/** `ps` answers within milliseconds; a hung one must not hang us. */
const PS_TIMEOUT_MS = 2000

/** True when `pid` is a live process whose command line contains `needle`. Pids are reused: never signal one without asking.
 *  Answers within milliseconds and cannot be cancelled. */
export async function isProcess(pid: number, needle: string): Promise<boolean> {
  return (await commandLine(pid))?.includes(needle) ?? false
}

/** The arguments of a process, joined by spaces; `undefined` when there is none (a zombie has none either). */
async function commandLine(pid: number): Promise<string | undefined> {
  if (process.platform === 'linux') {
    const text = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
    return text === '' ? undefined : text.replaceAll('\0', ' ')
  }
  return new Promise((resolve) => {
    execFile('ps', ['-ww', '-o', 'command=', '-p', String(pid)], { timeout: PS_TIMEOUT_MS }, (error, stdout) =>
      resolve(error ? undefined : stdout.trim()),
    )
  })
}
