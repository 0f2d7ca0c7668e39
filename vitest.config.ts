import { defineConfig } from 'vitest/config'

export default defineConfig({
  resolve: { conditions: ['source'] },
  ssr: { resolve: { conditions: ['source'] } },
  test: {
    include: ['packages/*/src/**/*.test.ts', 'sim/**/*.test.ts'],
    exclude: ['**/node_modules/**', '**/dist/**'],
    // The official SDKs print every step: only what belongs to a failure is shown.
    silent: 'passed-only',
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
})
