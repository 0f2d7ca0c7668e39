import { Presets, SingleBar } from 'cli-progress'
import type { Io } from './context.ts'
import { formatBytes } from './print.ts'

/** A bar on a terminal, nothing in a pipe. */
export type Progress = {
  update(doneBytes: number, totalBytes: number, doing: string): void
  /** Takes the bar away; what was printed before it stays. */
  stop(): void
}

/** Redraws per second: more only costs, on a slow line it even holds up the work. */
const FRAMES_PER_SECOND = 10

export function createProgress(stderr: Io['stderr']): Progress {
  if (stderr.isTTY !== true) return { update: () => undefined, stop: () => undefined }
  let bar: SingleBar | undefined
  const startedMs = performance.now()
  return {
    update(doneBytes, totalBytes, doing) {
      if (bar === undefined) {
        bar = new SingleBar(
          {
            format: '{doing} {bar} {percentage}% of {size}, {speed}/s',
            stream: stderr as NodeJS.WriteStream,
            fps: FRAMES_PER_SECOND,
            clearOnComplete: true,
            hideCursor: true,
            gracefulExit: false,
          },
          Presets.shades_classic,
        )
        bar.start(totalBytes, doneBytes, { doing, size: formatBytes(totalBytes), speed: formatBytes(0) })
      }
      const seconds = (performance.now() - startedMs) / 1000
      bar.setTotal(totalBytes)
      bar.update(doneBytes, {
        doing,
        size: formatBytes(totalBytes),
        speed: formatBytes(Math.round(doneBytes / Math.max(0.1, seconds))),
      })
    },
    stop: () => bar?.stop(),
  }
}
