import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Child, type ChildOptions, endStaleChild, superviseChild } from './child.ts'
import { systemClock } from './clock.ts'
import { isProcess } from './process.ts'

const PATIENCE_MS = 15_000
let directory: string
const children: Child[] = []

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'weightless-child-'))
})
afterEach(async () => {
  await Promise.all(children.splice(0).map((child) => child.stop({ stopSignal: 'SIGKILL' })))
  await rm(directory, { recursive: true, force: true })
})

/** A program that writes its pid, then lives; `onTerm` is what it does at SIGTERM. */
function program(onTerm: string, extra = ''): readonly string[] {
  const file = JSON.stringify(join(directory, 'child.pid'))
  return [
    '-e',
    `process.on('SIGTERM', () => { ${onTerm} }); ${extra}; require('fs').writeFileSync(${file}, String(process.pid)); setInterval(() => {}, 1000)`,
  ]
}

function start(options: Partial<ChildOptions> & Pick<ChildOptions, 'guard' | 'args'>): Child {
  const child = superviseChild(
    { name: 'test', command: process.execPath, logFile: join(directory, 'log'), restart: 'never', ...options },
    { clock: systemClock },
  )
  children.push(child)
  return child
}

async function eventually(check: () => Promise<boolean> | boolean): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS
  while (!(await check())) {
    if (Date.now() > deadline) throw new Error('not reached in time')
    await systemClock.sleep(10, {})
  }
}
const exists = (path: string): Promise<boolean> => stat(path).then(() => true, () => false) // prettier-ignore
const written = async (): Promise<number> => {
  const file = join(directory, 'child.pid')
  await eventually(async () => (await readFile(file, 'utf8').catch(() => '')) !== '')
  return Number(await readFile(file, 'utf8'))
}
function alive(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch {
    return false
  }
  // A zombie that waits for its parent is dead.
  return !/\bZ/.test(execFileSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' }))
}
const dead = (pid: number): Promise<void> =>
  eventually(() => {
    try {
      return !alive(pid)
    } catch {
      return true
    }
  })
/** Processes of the group of a guard: the guard, its watcher, the program. */
function groupOf(pid: number): string {
  const group = execFileSync('ps', ['-o', 'pgid=', '-p', String(pid)], { encoding: 'utf8' }).trim()
  return group
}
function membersOf(group: string): number {
  const rows = execFileSync('ps', ['-e', '-o', 'pgid=,stat='], { encoding: 'utf8' }).split('\n')
  return rows.filter((row) => row.trim().split(/\s+/)[0] === group && !/\sZ/.test(row)).length
}

describe.each(['stdin', 'shell'] as const)('a child under the guard %s', (guard) => {
  test('reports the pid of the program itself and writes it to its pid file while it runs', async () => {
    const pidFile = join(directory, 'pid.json')
    const child = start({ guard, pidFile, args: program('process.exit(0)') })
    const pid = await child.started
    expect(pid).toBe(await written())
    expect(child.pid).toBe(pid)
    await eventually(() => exists(pidFile))
    await child.stop()
    expect(child.pid).toBeUndefined()
    expect(await exists(pidFile)).toBe(false)
  })

  test('stop lets the program end by itself, and everything started with it is gone', async () => {
    const file = join(directory, 'saved')
    const child = start({
      guard,
      args: program(`require('fs').writeFileSync(${JSON.stringify(file)}, 'x'); process.exit(0)`),
    })
    const pid = await written()
    const group = groupOf(pid)
    expect(await child.stop()).toEqual({ exitCode: 0, exitSignal: null })
    expect(await exists(file)).toBe(true)
    await eventually(() => membersOf(group) === 0)
  })

  test('a program that ignores SIGTERM is killed after its grace', async () => {
    const child = start({ guard, args: program('') })
    const pid = await written()
    await child.stop({ graceMs: 50 })
    await dead(pid)
  })

  test('aborting a stop kills at once', async () => {
    const child = start({ guard, args: program('') })
    const pid = await written()
    await child.stop({ graceMs: 60_000, signal: AbortSignal.abort() })
    await dead(pid)
  })

  test('an exit that nobody asked for is reported with its code', async () => {
    const exits: unknown[] = []
    const child = start({ guard, args: ['-e', 'process.exit(7)'], onExit: (exit) => exits.push(exit) })
    expect(await child.ended).toEqual({ exitCode: 7, exitSignal: null })
    expect(exits).toEqual([{ exitCode: 7, exitSignal: null }])
    expect(await child.stop()).toEqual({ exitCode: 7, exitSignal: null })
  })

  test('restarts with back-off until it is stopped', async () => {
    const pids: number[] = []
    const child = start({
      guard,
      args: ['-e', 'process.exit(1)'],
      restart: { firstDelayMs: 1, delayMsMax: 4 },
      onStart: (pid) => pids.push(pid),
    })
    await eventually(() => pids.length >= 3)
    await child.stop()
    const count = pids.length
    expect(new Set(pids).size).toBe(count)
    expect(child.pid).toBeUndefined()
  })

  test('a program that cannot be started ends with a reason in the exit, not with an unhandled error', async () => {
    const child = start({ guard, command: join(directory, 'absent'), args: [] })
    const exit = await child.ended
    expect(exit.exitCode === 127 || exit.exitCode === null).toBe(true)
  })

  test('standard output and error go to the log file', async () => {
    const child = start({ guard, args: ['-e', 'console.log("out"); console.error("err")'] })
    await child.ended
    expect((await readFile(join(directory, 'log'), 'utf8')).split('\n').toSorted()).toEqual(['', 'err', 'out'])
  })
})

describe('when the parent is killed with SIGKILL', () => {
  /** A parent process of its own that supervises one child, and dies by kill -9. */
  async function killParent(options: { guard: 'stdin' | 'shell'; args: readonly string[] }): Promise<number> {
    const source = join(import.meta.dirname, 'child.ts')
    const script = join(directory, 'parent.mjs')
    const built = join(directory, 'child.mjs')
    const { build } = await import('esbuild')
    await build({
      entryPoints: [source],
      bundle: true,
      platform: 'node',
      format: 'esm',
      outfile: built,
      conditions: ['source'],
      logLevel: 'silent',
    })
    await writeFile(
      script,
      `import { superviseChild } from ${JSON.stringify(built)}
const clock = { nowMs: () => Date.now(), sleep: (ms) => new Promise((r) => setTimeout(r, ms)), deadline: (ms) => AbortSignal.timeout(ms) }
const child = superviseChild(${JSON.stringify({ name: 'test', command: process.execPath, args: options.args, guard: options.guard, restart: 'never', logFile: join(directory, 'log') })}, { clock })
await child.started
console.log('up')
`,
    )
    const parent: ChildProcess = spawn(process.execPath, [script], { stdio: ['ignore', 'pipe', 'inherit'] })
    await once(parent.stdout!, 'data')
    const pid = await written()
    parent.kill('SIGKILL')
    await once(parent, 'exit')
    return pid
  }

  test('a child that exits at the end of its standard input is gone', async () => {
    await dead(
      await killParent({
        guard: 'stdin',
        args: program('', `process.stdin.on('end', () => process.exit(0)).resume()`),
      }),
    )
  })

  test('a child of the shell guard is killed, and the guard goes too', async () => {
    const pid = await killParent({ guard: 'shell', args: program('') })
    await dead(pid)
    const shells = (): number =>
      execFileSync('ps', ['-e', '-ww', '-o', 'command='], { encoding: 'utf8' })
        .split('\n')
        .filter((row) => row.includes('weightless-guard') && row.includes(directory)).length
    await eventually(() => shells() === 0)
  })
})

test('a guard that is killed from outside takes its program with it', async () => {
  const child = start({ guard: 'shell', args: program('') })
  const pid = await written()
  process.kill(Number(groupOf(pid)), 'SIGKILL')
  await child.ended
  await dead(pid)
})

describe('a stale child', () => {
  test('is ended when its command line carries the needle', async () => {
    const needle = join(directory, 'state')
    const pidFile = join(directory, 'pid.json')
    const stale = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)', needle], { stdio: 'ignore' })
    await once(stale, 'spawn')
    await eventually(() => isProcess(stale.pid!, needle))
    await writeFile(pidFile, JSON.stringify({ pid: stale.pid }))
    expect(await endStaleChild({ pidFile, needle }, { clock: systemClock })).toBe(true)
    expect(await isProcess(stale.pid!, needle)).toBe(false)
    expect(await exists(pidFile)).toBe(false)
  })

  test('another process that got the same pid is left alone', async () => {
    const pidFile = join(directory, 'pid.json')
    const other = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' })
    await once(other, 'spawn')
    await writeFile(pidFile, JSON.stringify({ pid: other.pid }))
    expect(await endStaleChild({ pidFile, needle: join(directory, 'state') }, { clock: systemClock })).toBe(false)
    expect(alive(other.pid!)).toBe(true)
    other.kill('SIGKILL')
  })

  test.each(['', 'x', '{}', '{"pid":"1"}', '{"pid":1}', '{"pid":-5}', 'null'])(
    'a pid file that says %j names nobody',
    async (text) => {
      const pidFile = join(directory, 'pid.json')
      await writeFile(pidFile, text)
      expect(await endStaleChild({ pidFile, needle: '' }, { clock: systemClock })).toBe(false)
    },
  )
})
