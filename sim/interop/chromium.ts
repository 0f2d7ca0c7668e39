import { spawn } from 'node:child_process'
import { accessSync, constants, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import type { Readable, Writable } from 'node:stream'

/** A headless Chromium, driven over its DevTools pipe: no port that others could find, no library. */
export type Browser = {
  open(url: string): Promise<Page>
  close(): Promise<void>
}
export type Page = {
  /** The value of an expression, promises awaited. Rejects with what the page threw. */
  evaluate<T>(expression: string): Promise<T>
  /** Ends it as a person who closes the tab does: nothing of it runs on. */
  close(): Promise<void>
}

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']

/** Where the system has it; `undefined` on machines without. */
export function findChromium(path = process.env['PATH'] ?? ''): string | undefined {
  for (const directory of path.split(delimiter)) {
    for (const name of NAMES) {
      try {
        accessSync(join(directory, name), constants.X_OK)
        return join(directory, name)
      } catch {
        // Not here.
      }
    }
  }
  return undefined
}

export async function startChromium(binary: string): Promise<Browser> {
  const profile = mkdtempSync(join(tmpdir(), 'weightless-chromium-'))
  const child = spawn(
    binary,
    [
      '--headless=new',
      '--remote-debugging-pipe',
      `--user-data-dir=${profile}`,
      '--no-first-run',
      '--disable-gpu',
      '--disable-dev-shm-usage',
      // Containers run as root, where the sandbox does not start; the only page is ours.
      '--no-sandbox',
      'about:blank',
    ],
    { stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'] },
  )
  let log = ''
  child.stderr!.on('data', (chunk: Buffer) => (log = (log + chunk.toString()).slice(-2_000)))
  const ended = new Promise<void>((done) => child.once('close', () => done()))
  const devTools = connect(child.stdio[3] as Writable, child.stdio[4] as Readable)
  void ended.then(() => devTools.fail(new Error(`chromium has ended: ${log}`)))
  return {
    open: async (url) => {
      const { targetId } = await devTools.call('Target.createTarget', { url: 'about:blank' })
      const { sessionId } = await devTools.call('Target.attachToTarget', { targetId, flatten: true })
      const session = String(sessionId)
      await devTools.call('Page.enable', {}, session)
      const loaded = devTools.once('Page.loadEventFired', session)
      await devTools.call('Page.navigate', { url }, session)
      await loaded
      return {
        evaluate: async <T>(expression: string) => {
          const answer = await devTools.call(
            'Runtime.evaluate',
            { expression, awaitPromise: true, returnByValue: true },
            session,
          )
          const thrown = answer['exceptionDetails'] as
            | { exception?: { description?: string; value?: unknown } }
            | undefined
          if (thrown !== undefined) throw new Error(thrown.exception?.description ?? JSON.stringify(thrown))
          return (answer['result'] as { readonly value: T }).value
        },
        close: async () => void (await devTools.call('Target.closeTarget', { targetId })),
      }
    },
    close: async () => {
      await devTools.call('Browser.close', {}).catch(() => undefined)
      await ended
      rmSync(profile, { recursive: true, force: true, maxRetries: 10 })
    },
  }
}

type Message = {
  readonly id?: number
  readonly method?: string
  readonly sessionId?: string
  readonly result?: { readonly [name: string]: unknown }
  readonly error?: { readonly message: string }
}

/** JSON messages, each ended by a zero byte. */
function connect(into: Writable, from: Readable) {
  const waiting = new Map<number, { resolve: (result: any) => void; reject: (error: Error) => void }>()
  const listeners: { readonly method: string; readonly sessionId: string; readonly done: () => void }[] = []
  let nextId = 1
  let text = ''
  from.setEncoding('utf8')
  from.on('data', (chunk: string) => {
    const parts = (text + chunk).split('\0')
    text = parts.pop()!
    for (const part of parts) take(JSON.parse(part) as Message)
  })
  into.on('error', () => undefined)

  function take({ id, method, sessionId, result, error }: Message): void {
    if (id !== undefined) {
      const asked = waiting.get(id)
      waiting.delete(id)
      if (error === undefined) asked?.resolve(result)
      else asked?.reject(new Error(error.message))
      return
    }
    const at = listeners.findIndex((listener) => listener.method === method && listener.sessionId === sessionId)
    if (at >= 0) listeners.splice(at, 1)[0]!.done()
  }

  return {
    call: (method: string, params: object, sessionId?: string): Promise<{ readonly [name: string]: unknown }> =>
      new Promise((resolve, reject) => {
        const id = nextId++
        waiting.set(id, { resolve, reject })
        into.write(`${JSON.stringify({ id, method, params, ...(sessionId === undefined ? {} : { sessionId }) })}\0`)
      }),
    once: (method: string, sessionId: string): Promise<void> =>
      new Promise((done) => listeners.push({ method, sessionId, done })),
    fail: (error: Error): void => {
      for (const { reject } of waiting.values()) reject(error)
      waiting.clear()
    },
  }
}
