export { rewardAbi, rewardBytecode } from './generated/reward.ts'

/** Chunks of one reward item: 8 GiB of flow (spec/storage.md 1.1). */
export const REWARD_ITEM_CHUNKS = 33_554_432
