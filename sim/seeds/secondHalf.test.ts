import { describe } from 'vitest'
import { range, seedsHold } from './hold.ts'

describe('what was promised holds in the worlds of', () => {
  seedsHold(range(31, 48), { world: 'copies', reorgDepthMax: 8 })
  seedsHold(range(31, 42), { world: 'codes', reorgDepthMax: 0 })
})
