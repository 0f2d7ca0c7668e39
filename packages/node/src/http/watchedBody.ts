import type { Place } from './gate.ts'

/** The clients that read slowest are told apart by slices: with `ANSWER_PACE`, those below 100 KB/s make room for who waits. */
const SLICE_BYTES = 512 * 1024

/**
 * Bytes that leave under a place at a gate, in two slices at least. The server asks for the next one when the client has taken
 * the last, so the place is held as long as there is something in memory; who takes nothing for too long while others wait
 * loses place and connection.
 */
export function watchedBody(bytes: Uint8Array, place: Place): ReadableStream<Uint8Array> {
  const sliceBytes = Math.min(SLICE_BYTES, Math.ceil(bytes.length / 2))
  let sentBytes = 0
  return new ReadableStream<Uint8Array>(
    {
      start: (controller) =>
        place.lost.addEventListener('abort', () => controller.error(place.lost.reason), { once: true }),
      pull(controller) {
        place.keep()
        if (sentBytes >= bytes.length) {
          place.leave()
          controller.close()
          return
        }
        place.expect()
        controller.enqueue(bytes.subarray(sentBytes, sentBytes + sliceBytes))
        sentBytes += sliceBytes
      },
      cancel: () => place.leave(),
    },
    // Zero: nothing is asked for ahead of the client.
    { highWaterMark: 0 },
  )
}
