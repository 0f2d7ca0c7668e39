import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  resolve: { conditions: ['source'] },
  ssr: { resolve: { conditions: ['source'] } },
  test: {
    include: ['packages/*/src/**/*.test.ts', 'sim/**/*.test.ts'],
    exclude: ['**/node_modules/**', '**/dist/**'],
    // The official SDKs print every step: only what belongs to a failure is shown.
    silent: 'passed-only',
    // By itself it leaves one core idle, and loads every module again for every file. Files share modules, none of which keeps state.
    maxWorkers: Math.min(availableParallelism(), 4),
    isolate: false,
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
})
