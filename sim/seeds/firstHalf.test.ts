import { describe } from 'vitest'
import { range, seedsHold } from './hold.ts'

describe('what was promised holds in the worlds of', () => seedsHold(range(1, 30), { reorgDepthMax: 0 }))
