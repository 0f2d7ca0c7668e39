import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** One process as the system shows it to every user. */
export type SystemProcess = { readonly pid: number; readonly parent: number; readonly commandLine: string }

/** All processes, zombies left out: from /proc, or from `ps` where there is none. */
export function listProcesses(): readonly SystemProcess[] {
  return existsSync('/proc/self/stat') ? readdirSync('/proc').flatMap(fromProc) : fromPs()
}

/** `pid` and everything below it. */
export function familyOf(pid: number): readonly SystemProcess[] {
  const all = listProcesses()
  const family = all.filter((process) => process.pid === pid)
  for (let i = 0; i < family.length; i++) {
    family.push(...all.filter((process) => process.parent === family[i]!.pid))
  }
  return family
}

/** Processes whose command line names `text`, this one left out. */
export function processesNaming(text: string): readonly SystemProcess[] {
  return listProcesses().filter((one) => one.pid !== process.pid && one.commandLine.includes(text))
}

/** Polls until the condition holds. Throws after `boundMs`. */
export async function until(what: string, boundMs: number, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + boundMs
  while (!(await isSo())) {
    if (Date.now() > deadline) throw new Error(`waited ${boundMs} ms in vain until ${what}`)
    await sleep(25)
  }
}

function fromProc(name: string): SystemProcess[] {
  if (!/^\d+$/.test(name)) return []
  try {
    const commandLine = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ')
    const stat = readFileSync(`/proc/${name}/stat`, 'utf8')
    // "pid (name) state parent …": the name may hold anything, a ")" too.
    const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return state === 'Z' || state === 'X' ? [] : [{ pid: Number(name), parent: Number(parent), commandLine }]
  } catch {
    // It ended while we looked.
    return []
  }
}

function fromPs(): SystemProcess[] {
  const text = execFileSync('ps', ['-A', '-ww', '-o', 'pid=,ppid=,state=,args='], { encoding: 'utf8' })
  return [...text.matchAll(/^\s*(\d+)\s+(\d+)\s+(\S+)\s+(.*)$/gm)]
    .filter((row) => !row[3]!.startsWith('Z'))
    .map((row) => ({ pid: Number(row[1]), parent: Number(row[2]), commandLine: row[4]! }))
}
