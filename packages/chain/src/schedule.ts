/** Blocks that follow a block with transactions, one second apart: clients that wait for confirmations count these (DESIGN D2). */
export const CONFIRMATION_COUNT = 3
export const CONFIRMATION_INTERVAL_MS = 1000
/** An idle chain still tells its followers that it lives, and keeps its clock near ours. */
export const IDLE_INTERVAL_MS = 30_000
/** A start makes the blocks after the last snapshot again. A quiet moment is used to keep that short; under load it may grow to
 *  this. */
export const REPLAY_MS_QUIET = 2000
export const REPLAY_MS_MAX = 10_000
/** A snapshot takes the engine's attention (160 ms at 4000 transactions, growing with the history): at most a twentieth of its time. */
export const SAVE_SHARE = 20
export const SAVE_RETRY_MS = 10_000
/** From single calls, not from a replay: a block with one transaction takes 1.5 ms, a full one of 30M gas 40 ms more. */
const REPLAY_MS_PER_BLOCK = 1.5
const REPLAY_MS_PER_GAS = 40 / 30_000_000

/** About how long it takes to make a block again. */
export function replayMsOf(gasUsed: number): number {
  return REPLAY_MS_PER_BLOCK + gasUsed * REPLAY_MS_PER_GAS
}

/** What the sequencer does next. Pure: the loop that carries it out is in sequencer.ts. */
export function nextStep(state: ScheduleState, nowMs: number): Step {
  if (saveDueMs(state) <= nowMs) return { step: 'save' }
  if (state.hasTransactions) return { step: 'mine', reason: 'transactions' }
  const [reason, intervalMs] =
    state.confirmationsLeft > 0
      ? (['confirmation', CONFIRMATION_INTERVAL_MS] as const)
      : (['idle', IDLE_INTERVAL_MS] as const)
  const dueMs = state.lastBlockMs + intervalMs
  if (dueMs <= nowMs) return { step: 'mine', reason }
  return { step: 'wait', untilMs: Math.min(dueMs, saveDueMs(state)) }
}

/** `replayMs`: what the start had to make again. */
export function startSchedule(nowMs: number, replayMs = 0): ScheduleState {
  return { hasTransactions: false, confirmationsLeft: 0, lastBlockMs: nowMs, replayMs, saveNotBeforeMs: nowMs }
}

/** A clock that was set back must not stop the chain: what seems to lie ahead happened now. */
export function rebase(state: ScheduleState, nowMs: number): ScheduleState {
  if (state.lastBlockMs <= nowMs) return state
  return { ...state, lastBlockMs: nowMs, saveNotBeforeMs: nowMs }
}

/** A transaction was accepted into the pool. */
export function afterTransaction(state: ScheduleState): ScheduleState {
  return { ...state, hasTransactions: true }
}

/** `readyCount`: transactions that the pool could still put into a block. When a block took none of them they cannot be
 *  mined at all, and they must not make us try for ever. */
export function afterBlock(state: ScheduleState, block: MinedBlock): ScheduleState {
  const hasMined = block.transactionCount > 0
  return {
    ...state,
    hasTransactions: state.hasTransactions || (hasMined && block.readyCount > 0),
    confirmationsLeft: hasMined ? CONFIRMATION_COUNT : Math.max(0, state.confirmationsLeft - 1),
    lastBlockMs: block.nowMs,
    replayMs: state.replayMs + block.replayMs,
  }
}

/** The arrivals until now are taken into account by what follows: a look into the pool, then a block. */
export function beforeBlock(state: ScheduleState): ScheduleState {
  return { ...state, hasTransactions: false }
}

export function afterSave(
  state: ScheduleState,
  save: { readonly startMs: number; readonly endMs: number },
): ScheduleState {
  return {
    ...state,
    replayMs: 0,
    saveNotBeforeMs: save.endMs + SAVE_SHARE * Math.max(0, save.endMs - save.startMs),
  }
}

/** What could not be saved stays to be saved, some time later. */
export function afterFailedSave(state: ScheduleState, nowMs: number): ScheduleState {
  return { ...state, saveNotBeforeMs: nowMs + SAVE_RETRY_MS }
}

export type ScheduleState = {
  readonly hasTransactions: boolean
  readonly confirmationsLeft: number
  readonly lastBlockMs: number
  /** What a start would have to make again now. */
  readonly replayMs: number
  readonly saveNotBeforeMs: number
}
export type MinedBlock = {
  readonly transactionCount: number
  readonly readyCount: number
  readonly nowMs: number
  readonly replayMs: number
}
export type Step =
  | { readonly step: 'mine'; readonly reason: 'transactions' | 'confirmation' | 'idle' }
  | { readonly step: 'save' }
  | { readonly step: 'wait'; readonly untilMs: number }

function saveDueMs(state: ScheduleState): number {
  const isQuiet = state.confirmationsLeft === 0 && !state.hasTransactions
  return state.replayMs >= (isQuiet ? REPLAY_MS_QUIET : REPLAY_MS_MAX) ? state.saveNotBeforeMs : Infinity
}
