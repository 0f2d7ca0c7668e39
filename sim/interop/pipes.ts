import { spawn, type ChildProcess } from 'node:child_process'
import { createHash, randomFillSync } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Network } from './network.ts'

const binary = resolve(import.meta.dirname, '../../packages/cli/bin/weightless.js')
const PART_BYTES = 1024 ** 2
/** Told by the process itself at its end: what the system says of others is gone by then. Where there is one, by the mark of its own
 *  memory: the other one of Linux goes on from that of the process that started it. */
const TELL_PEAK = `
import { readFileSync, writeFileSync } from "node:fs"
process.on("exit", () => {
  let peakKb = process.resourceUsage().maxRSS
  try {
    peakKb = Number(/^VmHWM:\\s+(\\d+) kB/m.exec(readFileSync("/proc/self/status", "utf8"))[1])
  } catch {}
  writeFileSync(process.env.PEAK_FILE, String(peakKb))
})`

export type PipeRun = { readonly peakBytes: number; readonly ms: number; readonly sha256: string }

/** `weightless put -`: every part is another one, and none of them is kept here. */
export async function putFromPipe(network: Network, sizeBytes: number): Promise<PipeRun & { readonly root: string }> {
  const hash = createHash('sha256')
  async function* parts(): AsyncGenerator<Uint8Array> {
    const block = randomFillSync(Buffer.alloc(PART_BYTES))
    for (let at = 0; at < sizeBytes; at += PART_BYTES) {
      const part = Buffer.from(block.subarray(0, Math.min(PART_BYTES, sizeBytes - at)))
      // Other bytes in every quarter, so that no two segments are the same.
      for (let i = 0; i + 8 <= part.length; i += PART_BYTES / 4) part.writeDoubleLE(at + i, i)
      hash.update(part)
      yield part
    }
  }
  const { child, ended } = start(['put', '-', '--json', '--timeout', '3600', '--dir', network.dir])
  let out = ''
  child.stdout!.on('data', (chunk: Buffer) => (out += chunk.toString()))
  // A command that gives up closes its end: what it says then matters, not the pipe.
  await pipeline(Readable.from(parts(), { objectMode: false }), child.stdin!).catch(() => undefined)
  const { code, said, ...run } = await ended
  if (code !== 0) throw new Error(`put - ended with ${code}: ${said} ${out}`)
  return { ...run, sha256: hash.digest('hex'), root: (JSON.parse(out) as { readonly root: string }).root }
}

/** `weightless get -o -`, hashed as it comes. */
export async function getToPipe(network: Network, root: string): Promise<PipeRun> {
  const hash = createHash('sha256')
  const { child, ended } = start(['get', root, '-o', '-', '--timeout', '3600', '--dir', network.dir])
  child.stdin!.end()
  for await (const chunk of child.stdout!) hash.update(chunk as Buffer)
  const { code, said, ...run } = await ended
  if (code !== 0) throw new Error(`get -o - ended with ${code}: ${said}`)
  return { ...run, sha256: hash.digest('hex') }
}

type Ended = { readonly code: number | null; readonly said: string; readonly peakBytes: number; readonly ms: number }

function start(args: readonly string[]): { readonly child: ChildProcess; readonly ended: Promise<Ended> } {
  const folder = mkdtempSync(join(tmpdir(), 'weightless-peak-'))
  const peakFile = join(folder, 'peak')
  const started = performance.now()
  const child = spawn(
    process.execPath,
    ['--import', `data:text/javascript,${encodeURIComponent(TELL_PEAK)}`, binary, ...args],
    {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, PEAK_FILE: peakFile },
    },
  )
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(-2_000)))
  const ended = new Promise<number | null>((done) => child.once('close', done)).then((code): Ended => {
    const ms = performance.now() - started
    const peakBytes = code === 0 ? Number(readFileSync(peakFile, 'utf8')) * 1024 : 0
    rmSync(folder, { recursive: true, force: true })
    return { code, said, peakBytes, ms }
  })
  return { child, ended }
}
