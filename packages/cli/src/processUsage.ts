import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'

/** What a process has taken from the machine. */
export type ProcessUsage = { readonly rssBytes: number; readonly cpuSeconds: number }

/** Linux says 100 on every platform that Node runs on (getconf CLK_TCK). */
const CLOCK_TICKS_PER_SECOND = 100
const PAGE_BYTES = 4096
const PS_TIMEOUT_MS = 2000

/** `undefined` when the process is gone or the system does not tell. */
export async function processUsage(pid: number): Promise<ProcessUsage | undefined> {
  return process.platform === 'linux' ? fromProc(pid) : fromPs(pid)
}

async function fromProc(pid: number): Promise<ProcessUsage | undefined> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
    // "pid (name) state ppid …": the name may hold blanks, so fields count from the last ")"; utime is field 14, rss 24.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const ticks = Number(fields[11]) + Number(fields[12])
    return { rssBytes: Number(fields[21]) * PAGE_BYTES, cpuSeconds: ticks / CLOCK_TICKS_PER_SECOND }
  } catch {
    return undefined
  }
}

/** What of a process's memory is its own: the rest of `rssBytes` is pages of files, which the system takes back when it needs them.
 *  `undefined` where the system does not tell them apart. */
export async function ownMemoryBytes(pid: number): Promise<number | undefined> {
  const text = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
  const match = /^RssAnon:\s*(\d+) kB/m.exec(text)
  return match === null ? undefined : Number(match[1]) * 1024
}

function fromPs(pid: number): Promise<ProcessUsage | undefined> {
  return new Promise((resolve) => {
    execFile('ps', ['-o', 'rss=,time=', '-p', String(pid)], { timeout: PS_TIMEOUT_MS }, (error, stdout) => {
      const match = /^\s*(\d+)\s+(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)/.exec(stdout)
      if (error !== null || match === null) return resolve(undefined)
      const [days, hours, minutes, seconds] = match.slice(2).map((part) => Number(part ?? 0)) as [
        number,
        number,
        number,
        number,
      ]
      resolve({ rssBytes: Number(match[1]) * 1024, cpuSeconds: ((days * 24 + hours) * 60 + minutes) * 60 + seconds })
    })
  })
}
