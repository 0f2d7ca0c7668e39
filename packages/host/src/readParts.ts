import type { FileHandle } from 'node:fs/promises'
import type { Abortable } from '@weightless/core'

/** Fills `parts`, one after the other, with a file's bytes from `position` on. Answers how many it had: fewer at its end. */
export async function readParts(
  handle: FileHandle,
  parts: readonly Uint8Array[],
  position: number,
  options: Abortable,
): Promise<number> {
  let rest = parts.filter((part) => part.length > 0)
  let done = 0
  for (;;) {
    options.signal?.throwIfAborted()
    if (rest.length === 0) break
    let { bytesRead } = await handle.readv(rest, position + done)
    if (bytesRead === 0) break
    done += bytesRead
    while (rest.length > 0 && bytesRead >= rest[0]!.length) {
      bytesRead -= rest[0]!.length
      rest = rest.slice(1)
    }
    if (bytesRead > 0) rest = [rest[0]!.subarray(bytesRead), ...rest.slice(1)]
  }
  return done
}
