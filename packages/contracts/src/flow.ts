export { flowAbi, flowBytecode } from './generated/flow.ts'

/** The four entrances of Flow. The first two carry a submitter beside the data (official clients of 2026), the old ones
 *  take the payer for it (spec/storage.md 2.1). ABI tools that choose overloads by selector take these as names. */
export const flowSelectors = {
  submit: '0xbc8c11f8',
  batchSubmit: '0x49aa3395',
  submitOld: '0xef3e12dc',
  batchSubmitOld: '0x9e62a38e',
} as const

/** Entries that one batchSubmit takes: Flow.BATCH_ENTRIES_MAX, bounded by measured gas. */
export const FLOW_BATCH_ENTRIES_MAX = 64
