import { describe } from 'vitest'
import { range, seedsHold } from './hold.ts'

describe('what was promised holds in the worlds of', () => {
  seedsHold(range(31, 52), { world: 'copies', reorgDepthMax: 8 })
  seedsHold([...range(101, 114), ...range(116, 131), 133], { world: 'codes', reorgDepthMax: 8 })
})
