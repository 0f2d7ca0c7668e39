import { describe } from 'vitest'
import { range, seedsHold } from './hold.ts'

describe('what was promised holds in the worlds of', () => {
  seedsHold(range(1, 18), { world: 'copies', reorgDepthMax: 0 })
  seedsHold(range(1, 12), { world: 'codes', reorgDepthMax: 0 })
})
