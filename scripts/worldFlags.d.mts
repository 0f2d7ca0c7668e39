export const WORLD_FLAGS: string[]
