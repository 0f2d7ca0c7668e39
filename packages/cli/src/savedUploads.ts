import { createHash } from 'node:crypto'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { isFailure, type Abortable, type Root } from '@weightless/core'
import { ensureDirectory, writeFileAtomic } from '@weightless/host'
import { parseUploadStep, type UploadStep } from '@weightless/sdk'
import { fail } from './errors.ts'

/** Uploads that have paid, or may have, and are not done: one file each, by root, network and wallet. A later `put` of the same
 *  bytes goes on with it. */
export type SavedUploads = {
  /** Throws `UPLOAD_STATE_INVALID`, naming the file. */
  find(root: Root, options: Abortable): Promise<UploadStep | undefined>
  /** On disk when it resolves. */
  save(step: UploadStep, options: Abortable): Promise<void>
  /** Nothing is left to go on with. */
  forget(root: Root): Promise<void>
}

/** A signed transaction of one entry, twice in hex, and the names around it. */
const STATE_BYTES_MAX: number = 4 * 1024 ** 2

export function createSavedUploads(
  directory: string,
  of: { readonly chainId: number; readonly flow: string; readonly wallet: string },
): SavedUploads {
  const { chainId, flow, wallet } = of
  const scope = createHash('sha256').update(`${chainId} ${flow} ${wallet}`.toLowerCase()).digest('hex').slice(0, 16)
  const fileOf = (root: Root): string => join(directory, `${root}-${scope}.json`)
  return {
    find: async (root, { signal }) => {
      const file = fileOf(root)
      let text: string
      try {
        text = await readFile(file, { encoding: 'utf8', ...(signal === undefined ? {} : { signal }) })
      } catch (cause) {
        if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
        signal?.throwIfAborted()
        throw fail('UPLOAD_STATE_INVALID', { file, reason: (cause as NodeJS.ErrnoException).code }, { cause })
      }
      try {
        if (text.length > STATE_BYTES_MAX) throw new Error('too long')
        return parseUploadStep(JSON.parse(text))
      } catch (cause) {
        const reason = isFailure(cause) ? cause.code : (cause as Error).message
        throw fail('UPLOAD_STATE_INVALID', { file, reason }, { cause })
      }
    },
    save: async (step, options) => {
      await ensureDirectory(directory, options)
      await writeFileAtomic(fileOf(step.root), `${JSON.stringify(step)}\n`, { ...options, mode: 0o600 })
    },
    forget: (root) => rm(fileOf(root), { force: true }),
  }
}
