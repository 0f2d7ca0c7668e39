import { describe } from 'vitest'
import { seedsHold } from './hold.ts'

// Seeds that have found something, each with what it was.
describe('what was promised holds where it once did not, in the world of', () =>
  seedsHold(
    [
      // The gateway never asked a home whose slot another node had filled, so an entry stayed one copy short for ever; and it took
      // a node that refused damaged bytes for a liar.
      487,
      552, 624,
    ],
    { reorgDepthMax: 0 },
  ))
