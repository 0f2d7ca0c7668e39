import { spawn, type ChildProcess } from 'node:child_process'
import { mkdir, open } from 'node:fs/promises'
import { Failure } from '@weightless/core'
import type { Context } from '../context.ts'
import { fail } from '../errors.ts'
import { inspectDirectory, layoutOfDirectory } from '../local/directory.ts'
import { tailLines } from '../local/logLines.ts'
import { checkNewNetwork } from '../local/networkCode.ts'
import type { NetworkDescription } from '../networkFile.ts'
import { table } from '../print.ts'
import type { UpOptions } from '../program.ts'

/** What `up --json` prints is some kilobytes. */
const ANSWER_BYTES_MAX = 4 * 1024 * 1024
const FAILURE_LINES = 10
/** A background start that was interrupted gets this long to stop what it had started. */
const STOP_MS_MAX = 20_000

export async function upCommand(options: UpOptions, context: Context): Promise<void> {
  await (options.detach ? upInBackground(options, context) : upHere(options, context))
}

async function upHere(options: UpOptions, context: Context): Promise<void> {
  const { printer, signal, dir } = context
  const { startLocalNetwork } = await import('../up.ts')
  const deadline = new AbortController()
  const timer = setTimeout(
    () => deadline.abort(fail('TIMED_OUT', { seconds: options.timeout })),
    options.timeout * 1000,
  )
  const startedMs = performance.now()
  await using network = await startLocalNetwork(
    {
      dir,
      portBase: options.portBase,
      nodes: options.nodes,
      graceSeconds: options.grace,
      code: options.code,
      reset: options.reset,
      entry: context.io.entry,
      onPhase: (phase) =>
        printer.note(`${((performance.now() - startedMs) / 1000).toFixed(1).padStart(5)} s  ${phase}`),
    },
    { signal: AbortSignal.any([signal, deadline.signal]) },
  )
  clearTimeout(timer)
  const description = network.description()
  printer.result(description, () => describeNetwork(description, dir))
  const stop = AbortSignal.any([signal, network.stopRequested])
  if (!stop.aborted) await new Promise((resolve) => stop.addEventListener('abort', resolve, { once: true }))
  printer.note('stopping')
}

/** The same command again, in a session of its own: its stdout is the answer, its stderr goes to the log. */
async function upInBackground(options: UpOptions, context: Context): Promise<void> {
  const { dir, io, printer, signal } = context
  const found = await inspectDirectory(dir, options)
  if (found === 'new' || options.reset) checkNewNetwork({ nodes: options.nodes, code: options.code })
  const layout = layoutOfDirectory(dir)
  await mkdir(layout.logs, { recursive: true, mode: 0o700 })
  const log = await open(layout.log('up'), 'a', 0o600)
  const args = [
    'up',
    '--dir',
    dir,
    '--json',
    '--timeout',
    String(options.timeout),
    ...(options.portBase === undefined ? [] : ['--port-base', String(options.portBase)]),
    ...(options.nodes === undefined ? [] : ['--nodes', String(options.nodes)]),
    ...(options.grace === undefined ? [] : ['--grace', String(options.grace)]),
    ...(options.code === undefined ? [] : ['--code', options.code]),
    ...(options.reset ? ['--reset'] : []),
  ]
  const child = spawn(process.execPath, [io.entry, ...args], {
    detached: true,
    stdio: ['ignore', 'pipe', log.fd],
    cwd: io.cwd,
  })
  await log.close()
  const answer = await readAnswer(child, signal)
  if (answer === undefined) {
    const { lines } = await tailLines(layout.log('up'), FAILURE_LINES)
    throw fail('UP_FAILED', {
      reason: 'the process ended without an answer',
      exitCode: child.exitCode,
      log: lines.join('\n    '),
    })
  }
  if ('error' in answer) throw answer.error
  child.unref()
  child.stdout?.destroy()
  printer.result(answer.network, () => describeNetwork(answer.network, dir))
}

type Answer = { readonly network: NetworkDescription } | { readonly error: Failure }

/** The one JSON document of the child; `undefined` when it ends without one. On abort the child is told to stop and awaited. */
async function readAnswer(child: ChildProcess, signal: AbortSignal): Promise<Answer | undefined> {
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => resolve())
    child.once('error', () => resolve())
  })
  const answered = new Promise<Answer | undefined>((resolve) => {
    let text = ''
    child.stdout!.setEncoding('utf8')
    child.stdout!.on('data', (part: string) => {
      text += part
      if (text.length > ANSWER_BYTES_MAX) resolve(undefined)
      const answer = parseAnswer(text)
      if (answer !== undefined) resolve(answer)
    })
    child.stdout!.once('close', () => resolve(parseAnswer(text)))
    child.once('error', () => resolve(undefined))
  })
  const aborted = new Promise<'aborted'>((resolve) =>
    signal.addEventListener('abort', () => resolve('aborted'), { once: true }),
  )
  const first = await Promise.race([answered, aborted])
  if (first !== 'aborted') {
    if (first === undefined || 'error' in first) await ended
    return first
  }
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX)
  await ended
  clearTimeout(timer)
  throw signal.reason
}

/** `undefined` while the document is not complete. */
function parseAnswer(text: string): Answer | undefined {
  let value: NetworkDescription & {
    error?: {
      code: string
      facts: Record<string, string>
      next: string
      retryable: boolean
      causes?: readonly string[]
    }
  }
  try {
    value = JSON.parse(text) as typeof value
  } catch {
    return undefined
  }
  if (value.error === undefined) return { network: value }
  const { code, facts, next, retryable, causes = [] } = value.error
  const cause = causes.reduceRight<Error | undefined>(
    (inner, message) => new Error(message, { cause: inner }),
    undefined,
  )
  return { error: new Failure(code, { next, retryable, blame: 'none' }, facts, cause === undefined ? {} : { cause }) }
}

function describeNetwork(network: NetworkDescription, dir: string): string {
  const { chain, storage, accounts } = network
  const rows = [
    ['chain', chain.rpcUrl, `chain id ${chain.chainId}`],
    [
      'gateway and indexer',
      storage.gatewayUrl,
      `uploads: ${storage.code ?? 'three copies'}, unless they say otherwise`,
    ],
    ...storage.nodes.map((node) => [node.id, node.url, node.pid === null ? 'down' : `pid ${node.pid}`]),
  ]
  const leftOut = storage.nodes.length > 1 ? ' with a node left out' : ''
  const where = dir.endsWith('/.weightless') ? '' : ` --dir ${dir}`
  return [
    network.unproved === undefined
      ? `ready: an object was stored and read back${leftOut}`
      : `running; ${network.unproved}`,
    '',
    table(rows),
    '',
    'accounts of the public test mnemonic, funded here only:',
    ...accounts.map(({ address, privateKey }, index) => `  (${index}) ${address}  ${privateKey}`),
    '',
    `weightless put FILE${where}            store a file, signed by account (1)`,
    `weightless get ROOT -o FILE${where}    read it back, verified`,
    `weightless logs -f${where}             what the roles say (${layoutOfDirectory(dir).logs})`,
    `weightless down${where}                stop; 'weightless up' resumes`,
    `${dir}/network.json holds all of this for scripts.`,
  ].join('\n')
}
