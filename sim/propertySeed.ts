import * as fc from 'fast-check'

// A run of the tests judges the commit, not the dice: it tries the same values each time. FC_SEED is for looking further.
const seed = Number(process.env['FC_SEED'] ?? 1)
if (!Number.isSafeInteger(seed)) throw new Error(`FC_SEED is a whole number, not ${process.env['FC_SEED']}`)
fc.configureGlobal({ seed })
