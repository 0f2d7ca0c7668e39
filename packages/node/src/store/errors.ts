import { createFail } from '@weightless/core'

/** Codes of the segment store; `nodeErrors` includes them. */
export const storeErrors = {
  STORE_FULL: {
    retryable: true,
    blame: 'self',
    next: 'Give the store more capacity_bytes or free space on its disk; what is stored stays readable.',
  },
  STORE_CORRUPT: {
    retryable: false,
    blame: 'self',
    next: 'Take the segment from another holder; if this happens again, replace the disk.',
  },
  STORE_READ_FAILED: {
    retryable: true,
    blame: 'self',
    next: 'Take the segment from another holder, and check the disk.',
  },
  STORE_SYNC_FAILED: {
    retryable: false,
    blame: 'self',
    next: 'Replace or repair the disk, then start again: this store takes no more writes.',
  },
  STORE_WRITE_FAILED: {
    retryable: false,
    blame: 'self',
    next: 'Check the disk, then start again: this store takes no more writes.',
  },
  STORE_INDEX_FAILED: {
    retryable: false,
    blame: 'self',
    next: 'Check the disk of the index, then start again: the index is rebuilt as far as needed.',
  },
  STORE_DIRECTORY_GONE: {
    retryable: false,
    blame: 'self',
    next: 'The data directory was deleted or replaced under the running process: start again, and the store begins with what is there.',
  },
  STORE_CLOSED: { retryable: true, blame: 'self', next: 'Wait until the service is up again.' },
  STORE_FORMAT_NEWER: {
    retryable: false,
    blame: 'caller',
    next: 'Start the newer weightless that wrote this directory, or name an empty one.',
  },
  STORE_FORMAT_OLDER: {
    retryable: false,
    blame: 'caller',
    next: 'Start the weightless that wrote this directory, or begin with an empty one: what other holders have comes back by itself.',
  },
  STORE_FORMAT_INVALID: {
    retryable: false,
    blame: 'caller',
    next: 'Name the directory of a segment store, or an empty one.',
  },
} as const

export const fail: ReturnType<typeof createFail<typeof storeErrors>> = createFail(storeErrors)
