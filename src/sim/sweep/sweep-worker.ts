/** One core of a sweep: a thread that runs the chunks of seeds that it is given and sends back what happened in them. */
import { parentPort, workerData } from 'node:worker_threads'
import { startCoverage } from './coverage.ts'
import type { ChunkDone, ChunkFailed, ChunkOrder, WorkerSetup } from './pool.ts'

const { profile, commit, isMeasuring } = workerData as WorkerSetup
// Before the protocol's modules are loaded: their counters are then there from the first call on.
const meter = isMeasuring ? await startCoverage() : undefined
const { sweep } = await import('./sweep.ts')
const { explain, nameFailure } = await import('./explain.ts')

const EXPLAINED = 3
let explained = 0

parentPort?.on('message', (order: ChunkOrder) => void runChunk(order))

async function runChunk({ index, firstSeed, seeds }: ChunkOrder): Promise<void> {
  const part = sweep(profile, firstSeed, seeds)
  // Before the failures are shrunk: only the schedules of the sweep are counted.
  const coverage = meter ? await meter.take() : undefined
  for (const failure of part.failures) {
    explained += 1
    const lines = explained <= EXPLAINED ? explain(profile, failure, commit) : nameFailure(profile, failure, commit)
    parentPort?.postMessage({ kind: 'failed', lines } satisfies ChunkFailed, [])
  }
  await meter?.take()
  parentPort?.postMessage({ kind: 'done', index, part, ...(coverage ? { coverage } : {}) } satisfies ChunkDone, [])
}
