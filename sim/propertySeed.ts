import * as fc from 'fast-check'

// A run of the tests judges the commit, not the dice: it tries the same values each time. FC_SEED is for looking further.
fc.configureGlobal({ seed: Number(process.env['FC_SEED'] ?? 1) })
