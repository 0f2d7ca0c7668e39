import { isFailure } from '@weightless/core'
import { openLmdbIndex } from '@weightless/host'

const FAILURES = 5
const ROWS = 100

/** Writes until five transactions have failed, and says what is there then. */
async function run(path: string): Promise<void> {
  const index = await openLmdbIndex(path)
  const failures: string[] = []
  let committed = 0
  for (let round = 0; failures.length < FAILURES; round++) {
    const changes = Array.from({ length: ROWS }, (_, i) => ({
      key: new TextEncoder().encode(`row ${round} ${i}`),
      value: new Uint8Array(1_000).fill(round),
    }))
    try {
      await index.transaction(changes, { durability: round % 2 === 0 ? 'written' : 'synced' })
      committed += ROWS
    } catch (error) {
      failures.push(isFailure(error) ? error.code : String(error))
    }
  }
  const rows = [...index.range({ from: Uint8Array.of(1), to: Uint8Array.of(255) })].length
  // Whoever did not listen is told in the next turn.
  await new Promise((resolve) => setImmediate(resolve))
  process.stdout.write(JSON.stringify({ committed, failures, rows }))
  process.exit(0)
}

await run(process.argv[2]!)
