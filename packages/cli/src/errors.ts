import { createFail, type Failure } from '@weightless/core'

/** Codes of the command line. `USAGE` and `NOT_BUILT` end with exit code 2, everything else with 1. */
export const cliErrors = {
  USAGE: { retryable: false, blame: 'caller', next: 'Run the same command with --help.' },
  NOT_BUILT: { retryable: false, blame: 'none', next: 'Run `weightless --help` for what is there today.' },
  INTERRUPTED: {
    retryable: true,
    blame: 'caller',
    next: 'Run the command again: it starts anew, or goes on with what is on chain already.',
  },
  TIMED_OUT: {
    retryable: true,
    blame: 'none',
    next: 'Run the command again with a longer --timeout, or look at `weightless status`.',
  },
  BUG: {
    retryable: false,
    blame: 'self',
    next: 'Report this with the command and the message: it is a fault of weightless.',
  },
  NETWORK_DOWN: {
    retryable: true,
    blame: 'caller',
    next: 'Start it with `weightless up`, or name its directory with --dir.',
  },
  NETWORK_STARTING: { retryable: true, blame: 'none', next: 'Wait with `weightless status --wait`, then try again.' },
  NETWORK_RUNNING: {
    retryable: false,
    blame: 'caller',
    next: 'Use the running network (`weightless status`), stop it (`weightless down`), or choose another --dir.',
  },
  NETWORK_FILE_INVALID: {
    retryable: false,
    blame: 'self',
    next: 'Stop the network (`weightless down`) and start it again: `up` writes network.json anew.',
  },
  DIRECTORY_TOO_NEW: {
    retryable: false,
    blame: 'caller',
    next: 'Use the newer weightless that wrote this directory, or choose another --dir.',
  },
  DIRECTORY_FOREIGN: {
    retryable: false,
    blame: 'caller',
    next: 'Choose an empty or new --dir: this one holds files that weightless did not write.',
  },
  DIRECTORY_DAMAGED: {
    retryable: false,
    blame: 'self',
    next: 'Start again with `weightless up --reset`, which gives up what is stored there, or choose another --dir.',
  },
  NO_ROOM: {
    retryable: true,
    blame: 'self',
    next: 'Free space on that file system (`df` shows which are full), then run the command again.',
  },
  FILE_REFUSED: {
    retryable: false,
    blame: 'caller',
    next: 'Check that this user may read and write there, and that the disk is well; then run the command again.',
  },
  NETWORK_SILENT: {
    retryable: true,
    blame: 'self',
    next: 'Its process lives and does not answer: look with `weightless doctor`; if it hangs, end it with `kill PID` and run `weightless up`.',
  },
  NETWORK_INCOMPLETE: {
    retryable: false,
    blame: 'caller',
    next: 'Put what is missing back from a copy, then start again; or give the network up with `weightless up --reset`, or choose another --dir.',
  },
  UP_FAILED: { retryable: true, blame: 'self', next: 'Read the reason above and the logs with `weightless logs`.' },
  ROLE_NOT_READY: { retryable: true, blame: 'self', next: 'Read its log with `weightless logs ROLE`.' },
  PROOF_FAILED: {
    retryable: false,
    blame: 'self',
    next: 'Read the logs of the nodes with `weightless logs`; a fresh --dir tells whether old state is at fault.',
  },
  DOWN_FAILED: {
    retryable: true,
    blame: 'self',
    next: 'End the process named here yourself, then run `weightless status`.',
  },
  ADMIN_REFUSED: {
    retryable: false,
    blame: 'caller',
    next: 'Run the command as the user who started the network, with the same --dir.',
  },
  ADMIN_REQUEST_INVALID: {
    retryable: false,
    blame: 'caller',
    next: 'Use the command line of the same version as the running network.',
  },
  NODE_UNKNOWN: {
    retryable: false,
    blame: 'caller',
    next: 'See the ids of the storage nodes with `weightless status`.',
  },
  NODE_DRAIN_STUCK: {
    retryable: true,
    blame: 'caller',
    next: 'Add a node with `weightless node add`: the drain goes on by itself. Fewer nodes than an object has slots would leave it less safe.',
  },
  NODE_DRAIN_UNFINISHED: {
    retryable: true,
    blame: 'none',
    next: 'The drain goes on: look at `weightless status`, and run the same command again later or with a longer --timeout.',
  },
  NODE_DATA_NEEDED: {
    retryable: true,
    blame: 'caller',
    next: 'Start it with `weightless node start ID`: it hands off what only it has. `weightless node rm ID --force` gives that up.',
  },
  NODE_LIMIT: { retryable: false, blame: 'caller', next: 'Remove a node with `weightless node rm ID` first.' },
  FUNDING_FAILED: { retryable: true, blame: 'self', next: 'Read the log of the chain with `weightless logs chain`.' },
  ROLE_UNKNOWN: { retryable: false, blame: 'caller', next: 'Name one of the roles listed here.' },
  UPLOAD_STATE_INVALID: {
    retryable: false,
    blame: 'self',
    next: 'Make sure that no transaction of this wallet is pending, delete the file named here, and run the command again.',
  },
  FILE_UNREADABLE: {
    retryable: false,
    blame: 'caller',
    next: 'Name a file that exists and that you may read, or - for standard input.',
  },
  FILE_UNWRITABLE: {
    retryable: false,
    blame: 'caller',
    next: 'Name a file in a directory that exists and that you may write to.',
  },
  BENCH_FAILED: { retryable: true, blame: 'self', next: 'Read what it said; the scenario leaves nothing behind.' },
  BENCH_UNAVAILABLE: { retryable: false, blame: 'none', next: 'Run the scenario in a source checkout after `npm ci`.' },
} as const

export const fail: ReturnType<typeof createFail<typeof cliErrors>> = createFail(cliErrors)

/** Exit codes of the contract: 0 ok, 1 failed, 2 usage. */
export function exitCodeOf(failure: Pick<Failure, 'code'>): 1 | 2 {
  return failure.code === 'USAGE' || failure.code === 'NOT_BUILT' ? 2 : 1
}
