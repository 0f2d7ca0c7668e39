import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'
import { WORLD_FLAGS } from './scripts/worldFlags.mjs'

/** A world replaces what it uses of the platform (sim/platform.ts), so its tests share no process with others. */
const worlds = [
  'sim/seeds/**/*.test.ts',
  'sim/determinism.test.ts',
  'sim/planted*.test.ts',
  'sim/trustThePeer.test.ts',
  'sim/forgetTheReorg.test.ts',
]
const none = ['**/node_modules/**', '**/dist/**']

export default defineConfig({
  resolve: { conditions: ['source'] },
  ssr: { resolve: { conditions: ['source'] } },
  test: {
    // The official SDKs print every step: only what belongs to a failure is shown.
    silent: 'passed-only',
    // By itself it leaves one core idle. Suites that run side by side share the cores (scripts/test.mjs).
    maxWorkers: Number(process.env['TEST_FILES_AT_ONCE'] ?? Math.min(availableParallelism(), 4)),
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // One second by default, which a busy machine may need for anything.
    expect: { poll: { timeout: 20_000, interval: 10 } },
    projects: [
      {
        extends: true,
        test: { name: 'worlds', include: worlds, exclude: none, testTimeout: 240_000, execArgv: WORLD_FLAGS },
      },
      {
        extends: true,
        // Modules are loaded once for all files: none of them keeps state.
        test: {
          name: 'all others',
          include: ['packages/*/src/**/*.test.ts', 'sim/**/*.test.ts'],
          exclude: [...none, ...worlds],
          isolate: false,
          setupFiles: ['sim/propertySeed.ts'],
        },
      },
    ],
  },
})
