import { describe } from 'vitest'
import { range, seedsHold } from './hold.ts'

describe('what was promised holds in the worlds of', () => seedsHold(range(31, 60), { reorgDepthMax: 8 }))
