import type { Place } from './gate.ts'

/** The clients that read slowest are told apart by slices: with `ANSWER_PACE`, those below 100 KB/s make room for who waits. */
const SLICE_BYTES = 512 * 1024

/**
 * Bytes that leave under a place at a gate, in two slices at least. The server asks for the next one when the kernel has
 * the last, so the place is held as long as there is something in memory; who takes nothing for too long while others wait
 * loses place and connection. `onOver`: the memory of `parts` is not read any more.
 */
export function watchedBody(
  parts: readonly Uint8Array[],
  place: Place,
  onOver: () => void = () => undefined,
): ReadableStream<Uint8Array> {
  const slices = slicesOf(parts)
  const over = (): void => {
    place.leave()
    onOver()
  }
  return new ReadableStream<Uint8Array>(
    {
      start: (controller) =>
        place.lost.addEventListener('abort', () => controller.error(place.lost.reason), { once: true }),
      pull(controller) {
        place.keep()
        const slice = slices.shift()
        if (slice === undefined) {
          over()
          controller.close()
          return
        }
        place.expect()
        controller.enqueue(slice)
      },
      cancel: over,
    },
    // Zero: nothing is asked for ahead of the client.
    { highWaterMark: 0 },
  )
}

function slicesOf(parts: readonly Uint8Array[]): Uint8Array[] {
  const sliceBytes = parts.length > 1 ? SLICE_BYTES : Math.min(SLICE_BYTES, Math.ceil(parts[0]!.length / 2))
  return parts.flatMap((part) =>
    Array.from({ length: Math.ceil(part.length / sliceBytes) }, (_, i) =>
      part.subarray(i * sliceBytes, (i + 1) * sliceBytes),
    ),
  )
}
