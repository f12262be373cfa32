import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    maxWorkers: 2,
    projects: [
      {
        test: {
          name: 'unit',
          include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
          exclude: ['test/cluster/**', 'test/demo/**', 'test/pod/*.test.ts', 'test/simulation/**', 'node_modules/**'],
          testTimeout: 60_000,
          hookTimeout: 60_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        // Each takes a core for itself.
        test: {
          name: 'simulation',
          include: ['test/simulation/**/*.test.ts'],
          testTimeout: 600_000,
          sequence: { groupOrder: 1 },
          fileParallelism: false,
        },
      },
      {
        // A whole cluster of processes each: one at a time, with nothing beside it.
        test: {
          name: 'demo',
          include: ['test/demo/**/*.test.ts'],
          testTimeout: 240_000,
          // Forty processes on real sockets and two cores: once in some fifty starts an agent did not come up in time. The first failure is printed.
          retry: 1,
          sequence: { groupOrder: 2 },
          fileParallelism: false,
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
        },
      },
    ],
  },
})
