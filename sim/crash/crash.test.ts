import { spawn } from 'node:child_process'
import { resolve } from 'node:path'
import { expect, test } from 'vitest'

const script = resolve(import.meta.dirname, '../../scripts/crash.mjs')

// In a process of its own: official clients that are left waiting for the dead go on shouting after their time.
test(
  'kill -9 of each kind of process once, in the middle of uploads and downloads, loses nothing',
  { timeout: 180_000 },
  async () => {
    const run = spawn(process.execPath, [script, '--seed', '7', '--kills', '1'], { stdio: ['ignore', 'pipe', 'pipe'] })
    const [out, told] = await Promise.all(
      [run.stdout, run.stderr].map(async (stream) => {
        let text = ''
        for await (const chunk of stream) text += String(chunk)
        return text
      }),
    )
    const result = JSON.parse(out || JSON.stringify({ losses: [told] })) as Record<string, any>
    expect(result['losses']).toEqual([])
    expect(new Set(Object.values(result['kills']))).toEqual(new Set([1]))
    expect(result['storedCount']).toBeGreaterThan(2)
  },
)
