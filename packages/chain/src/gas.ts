/** Of an estimate: inserts into the flow tree cost more when other submissions come first (spec/storage.md 11.1, 6). */
const MARGIN_PERCENT = 30n
/** At least this much: a whole new level of the tree is a dozen storage writes of 22 100 gas. */
const MARGIN_GAS_MIN = 300_000n

/** What we answer to eth_estimateGas for a call with data: official clients send exactly the estimate and wait for ever when it
 *  was too little. Never above what a block holds, never below the estimate. */
export function withMargin(estimate: bigint, { blockGasLimit }: { readonly blockGasLimit: bigint }): bigint {
  const share = (estimate * MARGIN_PERCENT) / 100n
  const wanted = estimate + (share > MARGIN_GAS_MIN ? share : MARGIN_GAS_MIN)
  if (wanted <= blockGasLimit) return wanted
  return estimate > blockGasLimit ? estimate : blockGasLimit
}
