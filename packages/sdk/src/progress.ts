import type { Root, TxHash } from '@weightless/core'

/** How far an upload or download is: `doneBytes` of `totalBytes` in this phase; phases follow each other for one object, and those of
 *  several objects mix. */
export type ProgressEvent = {
  readonly phase: 'hash' | 'submit' | 'anchor' | 'store' | 'durable' | 'final' | 'download'
  readonly doneBytes: number
  readonly totalBytes: number
  readonly root?: Root
  /** With `submit`: the transaction is out. With `anchor`: it is mined. */
  readonly txHash?: TxHash
}
