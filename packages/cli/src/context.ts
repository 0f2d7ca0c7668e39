import { resolve } from 'node:path'
import type { Printer } from './print.ts'

/** What a process gives a command; tests hand in their own. */
export type Io = {
  readonly stdin: NodeJS.ReadableStream & { readonly isTTY?: boolean }
  readonly stdout: NodeJS.WritableStream & { readonly isTTY?: boolean }
  readonly stderr: NodeJS.WritableStream & { readonly isTTY?: boolean; readonly columns?: number }
  /** Aborts on Ctrl-C and SIGTERM. */
  readonly signal: AbortSignal
  /** The bundle that role processes run. */
  readonly entry: string
  readonly cwd: string
}

/** What every command gets. `dir` is absolute. */
export type Context = { readonly dir: string; readonly printer: Printer; readonly io: Io; readonly signal: AbortSignal }

export type GlobalOptions = { readonly dir: string; readonly json: boolean }

export function createContext(options: GlobalOptions, printer: Printer, io: Io): Context {
  return { dir: resolve(io.cwd, options.dir), printer, io, signal: io.signal }
}
