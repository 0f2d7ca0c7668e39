import { describe, expect, test } from 'vitest'
import {
  afterBlock,
  afterFailedSave,
  afterSave,
  afterTransaction,
  beforeBlock,
  nextStep,
  rebase,
  REPLAY_MS_MAX,
  REPLAY_MS_QUIET,
  replayMsOf,
  SAVE_RETRY_MS,
  SAVE_SHARE,
  type ScheduleState,
  startSchedule,
} from './schedule.ts'

/** Runs the schedule on a clock of its own against a pool that mines all it has; answers the log of what was done. */
function simulate(options: {
  untilMs: number
  transactionsAtMs?: readonly number[]
  saveMs?: number
  /** Of each block with transactions. */
  replayMs?: number
  saveFails?: boolean
}): string[] {
  const arrivals = [...(options.transactionsAtMs ?? [])]
  const log: string[] = []
  let nowMs = 0
  let state = startSchedule(0)
  while (nowMs <= options.untilMs) {
    let pool = 0
    while (arrivals.length > 0 && arrivals[0]! <= nowMs) {
      arrivals.shift()
      pool++
      state = afterTransaction(state)
    }
    const step = nextStep(rebase(state, nowMs), nowMs)
    if (step.step === 'wait') {
      nowMs = Math.min(step.untilMs, arrivals[0] ?? Infinity)
    } else if (step.step === 'save') {
      log.push(`${nowMs} save`)
      const endMs = nowMs + (options.saveMs ?? 0)
      state = options.saveFails ? afterFailedSave(state, endMs) : afterSave(state, { startMs: nowMs, endMs })
      nowMs = endMs
    } else {
      log.push(`${nowMs} ${step.reason}${pool > 1 ? ` x${pool}` : ''}`)
      if (step.reason === 'transactions') state = beforeBlock(state)
      const replayMs = pool > 0 ? (options.replayMs ?? 0) : 0
      state = afterBlock(state, { transactionCount: pool, readyCount: 0, nowMs, replayMs })
      // Time passes while a block is made; without it a test could hide a loop that never waits.
      nowMs += 1
    }
    if (log.length > 500) throw new Error('the schedule never rests')
  }
  return log
}

describe('when blocks are made', () => {
  test('an idle chain makes one every 30 seconds', () => {
    expect(simulate({ untilMs: 95_000 })).toEqual(['30000 idle', '60000 idle', '90000 idle'])
  })

  test('a transaction is mined at once, then three blocks follow a second apart, then the chain is idle', () => {
    expect(simulate({ untilMs: 40_000, transactionsAtMs: [5000] })).toEqual([
      '5000 transactions',
      '6000 confirmation',
      '7000 confirmation',
      '8000 confirmation',
      '38000 idle',
    ])
  })

  test('a transaction during the confirmations starts them again', () => {
    expect(simulate({ untilMs: 6000, transactionsAtMs: [0, 1500] })).toEqual([
      '0 transactions',
      '1000 confirmation',
      '1500 transactions',
      '2500 confirmation',
      '3500 confirmation',
      '4500 confirmation',
    ])
  })

  test('transactions that arrive together share a block', () => {
    expect(simulate({ untilMs: 900, transactionsAtMs: [100, 100, 100] })).toEqual(['100 transactions x3'])
  })
})

describe('when the state is saved', () => {
  const busy = Array.from({ length: 400 }, (_, i) => i * 100)
  const savesOf = (log: readonly string[]): number[] =>
    log.filter((line) => line.endsWith('save')).map((line) => Number(line.split(' ')[0]))

  test('in the first quiet moment after which a start would take two seconds', () => {
    const options = { untilMs: 60_000, transactionsAtMs: [0, 10_000] }
    expect(savesOf(simulate({ ...options, replayMs: REPLAY_MS_QUIET / 2 - 1 }))).toEqual([])
    expect(savesOf(simulate({ ...options, replayMs: REPLAY_MS_QUIET / 2 }))).toEqual([13_001])
  })

  test('under load when a start would take ten seconds', () => {
    const saves = savesOf(simulate({ untilMs: 39_000, transactionsAtMs: busy, replayMs: REPLAY_MS_MAX / 100 }))
    expect(saves).toHaveLength(3)
    expect(saves[0]).toBeGreaterThanOrEqual(9_900)
  })

  test('a slow save takes at most a twentieth of the time', () => {
    const load = { untilMs: 39_000, transactionsAtMs: busy, saveMs: 1000, replayMs: REPLAY_MS_MAX / 10 }
    const [first, second, ...more] = savesOf(simulate(load))
    expect(more).toEqual([])
    expect(second! - (first! + 1000)).toBeGreaterThanOrEqual(SAVE_SHARE * 1000)
  })

  test('at once when the start had much to make again', () => {
    expect(nextStep(startSchedule(0, REPLAY_MS_QUIET), 0)).toEqual({ step: 'save' })
    expect(nextStep(startSchedule(0, REPLAY_MS_QUIET - 1), 0)).toMatchObject({ step: 'wait' })
  })

  test('idle blocks alone do it in hours', () => {
    const blocks = Math.ceil(REPLAY_MS_QUIET / replayMsOf(0))
    expect(blocks).toBeGreaterThan(1000)
    expect(savesOf(simulate({ untilMs: 600_000 }))).toEqual([])
  })

  test('what could not be saved is tried again later, and blocks go on', () => {
    const load = { untilMs: 65_000, transactionsAtMs: [0], saveFails: true, replayMs: REPLAY_MS_MAX }
    const log = simulate(load)
    const saves = savesOf(log)
    expect(saves.length).toBeGreaterThan(3)
    expect(saves[1]! - saves[0]!).toBe(SAVE_RETRY_MS)
    expect(log.filter((line) => line.endsWith('idle'))).toHaveLength(2)
  })
})

describe('what must not happen', () => {
  const resting: ScheduleState = { ...startSchedule(0), hasTransactions: true }

  test('transactions that a block left although it took nothing do not keep the chain busy', () => {
    const state = afterBlock(beforeBlock(resting), { transactionCount: 0, readyCount: 5, nowMs: 0, replayMs: 0 })
    expect(nextStep(state, 0)).toMatchObject({ step: 'wait' })
  })

  test('a full block is followed by the next one at once', () => {
    const state = afterBlock(beforeBlock(resting), { transactionCount: 700, readyCount: 5, nowMs: 0, replayMs: 0 })
    expect(nextStep(state, 0)).toEqual({ step: 'mine', reason: 'transactions' })
  })

  test('a transaction that arrives while a block is made is not forgotten', () => {
    const state = afterBlock(afterTransaction(beforeBlock(resting)), {
      transactionCount: 1,
      readyCount: 0,
      nowMs: 0,
      replayMs: 0,
    })
    expect(nextStep(state, 0)).toEqual({ step: 'mine', reason: 'transactions' })
  })

  test('a clock that is set back an hour does not stop the blocks', () => {
    const state = rebase({ ...startSchedule(3_600_000), confirmationsLeft: 2 }, 0)
    expect(nextStep(state, 0)).toEqual({ step: 'wait', untilMs: 1000 })
    expect(nextStep(rebase(state, 1000), 1000)).toEqual({ step: 'mine', reason: 'confirmation' })
  })
})
