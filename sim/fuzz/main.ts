import { startCoverage } from './coverage.ts'
import { fuzz } from './engine.ts'
import { targets } from './targets.ts'

// One target in this process: `npm run fuzz` starts one of these for each (scripts/fuzz.mjs).

const [name, inputs, seed] = process.argv.slice(2)
if (name === undefined) process.stdout.write(JSON.stringify(targets.map((target) => target.name)))
else {
  const target = targets.find((one) => one.name === name)!
  const coverage = startCoverage()
  const result = await fuzz(target, {
    inputs: Math.ceil(Number(inputs) / (target.isWhole === true ? 10 : 1)),
    seed: Number(seed),
    coverage,
    onProgress: (done) => process.stderr.write(`${done}\n`),
  })
  await target.close?.()
  const { outcomes, finding, ...rest } = result
  process.stdout.write(
    JSON.stringify({
      ...rest,
      from: target.from,
      seenCount: coverage.seenCount,
      outcomeCount: outcomes.size,
      outcomes: [...outcomes].sort((a, b) => b[1] - a[1]).slice(0, 6),
      finding: finding && { ...finding, input: Buffer.from(finding.input).toString('base64') },
    }),
  )
  process.exit(0)
}
