import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
          exclude: ['test/cluster/**', 'test/demo/**', 'test/pod/*.test.ts', 'test/simulation/**', 'node_modules/**'],
          testTimeout: 60_000,
          hookTimeout: 60_000,
          sequence: { groupOrder: 0 },
          // A module that every file loads anew costs as much as all the tests.
          isolate: false,
          // Two for the cores, and two because half of the longer tests wait for what they started.
          maxWorkers: 4,
        },
      },
      {
        test: {
          name: 'simulation',
          include: ['test/simulation/**/*.test.ts'],
          setupFiles: ['test/simulation/behind.ts'],
          testTimeout: 600_000,
          sequence: { groupOrder: 1 },
          maxWorkers: 2,
        },
      },
      {
        // Forty processes a play: one at a time, with nothing beside it. Two side by side starved on two cores: no VM wrote within a minute.
        test: {
          name: 'demo',
          include: ['test/demo/**/*.test.ts'],
          globalSetup: ['test/demo/bundle.ts'],
          testTimeout: 240_000,
          // Forty processes on real sockets and two cores: once in some fifty starts an agent did not come up in time. The first failure is printed.
          retry: 1,
          sequence: { groupOrder: 2 },
          fileParallelism: false,
          maxConcurrency: 1,
        },
      },
      {
        // The image of the Dockerfile and the manifests of deploy/ under runc: needs root.
        test: {
          name: 'pod',
          include: ['test/pod/*.test.ts'],
          testTimeout: 240_000,
          hookTimeout: 900_000,
          sequence: { groupOrder: 4 },
          fileParallelism: false,
        },
      },
      {
        test: {
          name: 'cluster',
          include: ['test/cluster/**/*.test.ts'],
          testTimeout: 600_000,
          hookTimeout: 600_000,
          // Two control planes at a time: their tests wait far more than they compute.
          sequence: { groupOrder: 3 },
          maxWorkers: 2,
        },
      },
    ],
  },
})
