import type { Address, Clock, Index } from '@weightless/core'
import { concat, fromHex } from '@weightless/core'
import { fail } from '../errors.ts'
import { budgetKey, budgetRange } from '../flow/keys.ts'

/** What the operator pays parity for, in bytes of parity: a day's sum, and that of one sender (DESIGN D8). Days are those of UTC. */
export type Budget = {
  /** Throws `PARITY_BUDGET_SPENT` where `spend` would now. */
  check(sender: Address, parityBytes: number): void
  /** Notes the bytes. Throws `PARITY_BUDGET_SPENT`, and then nothing is noted. */
  spend(sender: Address, parityBytes: number): Promise<void>
  spentBytes(): number
}

const DAY_MS = 86_400_000

export function createBudget(
  options: { readonly dayBytesMax: number; readonly addressDayBytesMax: number },
  deps: { readonly index: Index; readonly clock: Clock },
): Budget {
  const { index, clock } = deps
  const today = (): number => Math.floor(clock.nowMs() / DAY_MS)
  const read = (key: Uint8Array): number => {
    const value = index.get(key)
    return value === undefined ? 0 : Number(new TextDecoder().decode(value))
  }
  let last: Promise<void> = Promise.resolve()

  function planned(sender: Address, parityBytes: number) {
    const ofDay = budgetKey(today())
    const ofAddress = concat([ofDay, fromHex(sender)])
    const [spentBytes, addressBytes] = [read(ofDay) + parityBytes, read(ofAddress) + parityBytes]
    if (spentBytes > options.dayBytesMax)
      throw fail('PARITY_BUDGET_SPENT', { of: 'day', parityBytes, bytesMax: options.dayBytesMax })
    if (addressBytes > options.addressDayBytesMax)
      throw fail('PARITY_BUDGET_SPENT', { of: sender, parityBytes, bytesMax: options.addressDayBytesMax })
    const encode = (bytes: number): Uint8Array => new TextEncoder().encode(String(bytes))
    return [
      { key: ofDay, value: encode(spentBytes) },
      { key: ofAddress, value: encode(addressBytes) },
    ]
  }

  async function note(sender: Address, parityBytes: number): Promise<void> {
    const rows = planned(sender, parityBytes)
    const past = Array.from(index.range(budgetRange(today())), ({ key }) => ({
      key: Uint8Array.from(key),
      value: undefined,
    }))
    await index.transaction([...past, ...rows], { durability: 'written' })
  }

  return {
    check: (sender, parityBytes) => void planned(sender, parityBytes),
    spend(sender, parityBytes) {
      const noted = last.then(() => note(sender, parityBytes))
      last = noted.catch(() => undefined)
      return noted
    },
    spentBytes: () => read(budgetKey(today())),
  }
}
