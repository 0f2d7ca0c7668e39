import { connect, type Socket } from 'node:net'

/** Connections whose clients send a beginning and then neither go on nor go away. */
export type SlowClients = {
  readonly openCount: number
  /** What the server said to each before it ended the connection; resolves when it has ended all of them. */
  readonly ended: Promise<readonly string[]>
  /** The clients give up. */
  leave(): void
}

/** Opens `count` connections to `url` and sends `beginning` on each; resolves when all are connected and have sent it. With
 *  `reads: false` the clients never look at an answer either. */
export async function openSlowClients(
  url: string,
  beginning: string,
  options: { readonly count: number; readonly reads?: boolean },
): Promise<SlowClients> {
  const { hostname, port } = new URL(url)
  const open = new Set<Socket>()
  const ends: Promise<string>[] = []
  for (let i = 0; i < options.count; i++) {
    const socket = connect(Number(port), hostname)
    // A server that ends the connection may reset it: that is an end like any other.
    socket.on('error', () => undefined)
    let answer = ''
    if (options.reads === false) socket.pause()
    else socket.on('data', (part: Buffer) => (answer += part.toString('latin1')))
    open.add(socket)
    ends.push(
      new Promise((done) =>
        socket.once('close', () => {
          open.delete(socket)
          done(answer)
        }),
      ),
    )
    await new Promise<void>((connected, failed) => {
      socket.once('error', failed)
      socket.once('connect', () => socket.write(beginning, () => connected()))
    })
  }
  return {
    get openCount() {
      return open.size
    },
    ended: Promise.all(ends),
    leave: () => {
      for (const socket of open) socket.destroy()
    },
  }
}
