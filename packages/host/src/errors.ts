import { createFail } from '@weightless/core'

/** Codes of the machine: files, sockets, configuration text. */
export const hostErrors = {
  PORT_TAKEN: {
    retryable: false,
    blame: 'caller',
    next: 'Stop the program that listens there, or choose another port (--port-base, or `listen` in the configuration).',
  },
  LISTEN_FAILED: {
    retryable: false,
    blame: 'caller',
    next: 'Choose an address of this machine and a port that this user may open.',
  },

  DISK_FULL: { retryable: true, blame: 'self', next: 'Free space on the file system, then try again.' },
  DISK_FAILED: {
    retryable: false,
    blame: 'self',
    next: 'Check the file system and its permissions, then start again.',
  },
  DIRECTORY_IN_USE: {
    retryable: false,
    blame: 'caller',
    next: 'Stop the process named here first, or use another directory.',
  },
  DIRECTORY_FAILED: { retryable: false, blame: 'caller', next: 'Use a directory that this user may create and write.' },
  INDEX_OPEN_FAILED: {
    retryable: false,
    blame: 'self',
    next: 'Check the permissions of the index directory; if it is damaged, move it away: what can be rebuilt is rebuilt at the next start.',
  },
  INDEX_FAILED: { retryable: false, blame: 'self', next: 'Check the disk of the index, then start again.' },

  KEY_FILE_MISSING: { retryable: false, blame: 'caller', next: 'Create the key file, or name the right one.' },
  KEY_FILE_OPEN: {
    retryable: false,
    blame: 'caller',
    next: 'Run `chmod 600` on the key file: others can read it now.',
  },
  KEY_FILE_INVALID: {
    retryable: false,
    blame: 'caller',
    next: 'Write one private key into the file: 64 hex digits, with or without 0x.',
  },
  KEY_FILE_EXISTS: {
    retryable: false,
    blame: 'caller',
    next: 'Use the existing key file, or move it away first: a key is never overwritten.',
  },

  FILE_MISSING: { retryable: false, blame: 'caller', next: 'Name a file that exists and that this user may read.' },
  FILE_NOT_REGULAR: {
    retryable: false,
    blame: 'caller',
    next: 'Name a regular file; pipe anything else through stdin.',
  },
  FILE_CHANGED: {
    retryable: false,
    blame: 'caller',
    next: 'Keep the file unchanged until the command has ended, then run it again.',
  },
  TOML_INVALID: { retryable: false, blame: 'caller', next: 'Correct the configuration file at the line named here.' },
  TOML_TOO_LARGE: {
    retryable: false,
    blame: 'caller',
    next: 'Name the configuration file: this one is too large to be one.',
  },

  SOCKET_CONNECT_FAILED: {
    retryable: true,
    blame: 'peer',
    next: 'Check that the service runs and that its address is right, then try again.',
  },
  HEAD_FEED_ANSWER_INVALID: {
    retryable: true,
    blame: 'peer',
    next: 'Check that the URL is an Ethereum JSON-RPC endpoint.',
  },
  KERNEL_WORKER_FAILED: {
    retryable: true,
    blame: 'self',
    next: 'Try again: the worker is replaced; if it stays, give this process more memory.',
  },
  KERNEL_QUEUE_FULL: { retryable: true, blame: 'caller', next: 'Wait for hashing under way to end, then try again.' },
  KERNEL_POOL_CLOSED: {
    retryable: false,
    blame: 'caller',
    next: 'Start the program again: it was stopping when this was asked.',
  },

  REQUEST_INVALID: { retryable: false, blame: 'caller', next: 'Send a well-formed HTTP/1.1 request.' },
  REQUEST_HEADERS_TOO_LARGE: { retryable: false, blame: 'caller', next: 'Send fewer or shorter headers.' },
  REQUEST_TIMEOUT: { retryable: true, blame: 'caller', next: 'Send the request again, without pauses.' },
  CONNECTIONS_FULL: {
    retryable: true,
    blame: 'self',
    next: 'Close a connection that is not needed, or try again later.',
  },
  BODY_STALLED: {
    retryable: true,
    blame: 'peer',
    next: 'Try again: the other side stopped sending in the middle of a body.',
  },
  PEER_GONE: { retryable: true, blame: 'peer', next: 'Try again: the other side ended the connection.' },
  INTERNAL: { retryable: true, blame: 'self', next: 'Try again; if it stays, look into the log of this service.' },
} as const

export const fail: ReturnType<typeof createFail<typeof hostErrors>> = createFail(hostErrors)
