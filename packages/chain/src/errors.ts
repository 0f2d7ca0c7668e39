import { createFail } from '@weightless/core'

/** Codes of the chain engines (`createFail` below checks the form). */
export const chainErrors = {
  CHAIN_ENGINE_MISSING: {
    retryable: false,
    blame: 'caller',
    next: 'Run `npm ci` without --omit=optional on Linux (glibc), macOS or Windows, x64 or arm64; elsewhere connect the roles to an EVM RPC of your own.',
  },
  CHAIN_START_FAILED: { retryable: true, blame: 'self', next: 'Read the end of the log named here, then start again.' },
  CHAIN_DIRECTORY_NEWER: {
    retryable: false,
    blame: 'caller',
    next: 'Use the version of Weightless that wrote this directory, or another directory.',
  },
  CHAIN_DIRECTORY_INVALID: {
    retryable: false,
    blame: 'caller',
    next: 'Name the directory of a chain, or start a new one with an empty directory (--reset).',
  },
  CHAIN_ID_DIFFERENT: {
    retryable: false,
    blame: 'caller',
    next: 'Use the chain id that this directory was made with, or an empty directory.',
  },
  CHAIN_STATE_BROKEN: {
    retryable: false,
    blame: 'self',
    next: 'Restore the file named here from a copy, or start a new chain with an empty directory (--reset).',
  },
  CHAIN_JOURNAL_FAILED: {
    retryable: false,
    blame: 'self',
    next: 'Free space or repair the disk, then stop and start the network: it goes on after the last block on disk.',
  },
  CHAIN_DIRECTORY_GONE: {
    retryable: false,
    blame: 'caller',
    next: 'The blocks were there and nowhere else: put the directory back from a copy while the network is down, or begin anew with `weightless up --reset`.',
  },
  CHAIN_JOURNAL_DAMAGED: {
    retryable: false,
    blame: 'self',
    next: 'Restore the file named here from a copy: blocks in it were seen by others. Without a copy, start a new chain (--reset).',
  },
  CHAIN_REPLAY_DIFFERENT: {
    retryable: false,
    blame: 'self',
    next: 'Start with the version of Weightless and of its chain engine that made these blocks, or start a new chain (--reset).',
  },
  CHAIN_STOPPED: {
    retryable: false,
    blame: 'self',
    next: 'Read `weightless status`: the chain makes no more blocks until its operator has mended what is named there.',
  },
  CHAIN_CALL_FAILED: {
    retryable: false,
    blame: 'caller',
    next: 'Correct the call: the engine refused it for the reason given here.',
  },
  CHAIN_UNAVAILABLE: {
    retryable: true,
    blame: 'self',
    next: 'Try again in a moment: the engine is restarting or busy.',
  },
  REMOTE_CHAIN_ID_DIFFERENT: {
    retryable: false,
    blame: 'caller',
    next: 'Use the RPC of the chain whose id is configured, or configure the id of this one.',
  },
  REMOTE_FLOW_MISSING: {
    retryable: false,
    blame: 'caller',
    next: 'Correct the flow address: no contract lives there on this chain.',
  },
  DEPLOY_FAILED: {
    retryable: true,
    blame: 'none',
    next: 'Check that the deployer has funds, then run the deployment again: it goes on where it stopped.',
  },
  DEPLOY_CONFLICT: {
    retryable: false,
    blame: 'caller',
    next: 'Deploy from a fresh key: this one has been used for something else.',
  },
} as const

export const fail: ReturnType<typeof createFail<typeof chainErrors>> = createFail(chainErrors)
