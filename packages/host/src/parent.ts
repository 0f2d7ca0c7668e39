/** Calls `onEnd` once when standard input ends: the parent holds the other end of that pipe, so it ends with the parent, however
 *  that died. Returns the function that stops watching. Standard input is not for anything else then. */
export function exitWithParent(onEnd: () => void, input: NodeJS.ReadableStream = process.stdin): () => void {
  let isOver = false
  const stop = (): void => {
    isOver = true
    input.off('end', end)
    input.off('close', end)
    input.off('error', end)
    input.pause()
    // A pipe that nobody watches must not keep the process alive.
    if ('unref' in input) (input as unknown as { unref(): void }).unref()
  }
  const end = (): void => {
    if (isOver) return
    stop()
    onEnd()
  }
  input.on('end', end)
  input.on('close', end)
  input.on('error', end)
  // Data has no meaning here, but the end comes only after it has been read.
  input.resume()
  return stop
}
