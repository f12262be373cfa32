/** Runs a range of seeds on several cores: chunks are handed out in order to threads, and their results added up in the order of the seeds. */
import { Worker } from 'node:worker_threads'
import type { Coverage } from './coverage.ts'
import type { Profile } from '../schedule/schedule.ts'
import type { Sweep } from './sweep.ts'

export interface WorkerSetup {
  readonly profile: Profile
  /** Named in what a failed seed prints. */
  readonly commit: string
  readonly isMeasuring: boolean
}

export interface ChunkOrder {
  readonly index: number
  readonly firstSeed: number
  readonly seeds: number
}

export interface ChunkFailed {
  readonly kind: 'failed'
  readonly lines: readonly string[]
}

export interface ChunkDone {
  readonly kind: 'done'
  readonly index: number
  readonly part: Sweep
  readonly coverage?: Coverage
}

export interface PoolOptions extends WorkerSetup {
  readonly workers: number
  readonly firstSeed: number
  readonly seeds: number
  readonly chunkSeeds: number
  /** At once, in whatever order seeds fail. */
  readonly onFailed: (lines: readonly string[]) => void
  /** In the order of the seeds, without gaps. */
  readonly onDone: (part: Sweep, coverage: Coverage | undefined) => void
}

/** The seeds of a range in chunks, the last one smaller. */
export function chunksOf(firstSeed: number, seeds: number, chunkSeeds: number): readonly ChunkOrder[] {
  const chunks: ChunkOrder[] = []
  for (let done = 0; done < seeds; done += chunkSeeds)
    chunks.push({ index: chunks.length, firstSeed: firstSeed + done, seeds: Math.min(chunkSeeds, seeds - done) })
  return chunks
}

/** Takes results in any order and gives them on in the order of their index. */
export function inOrder<Result extends { readonly index: number }>(give: (result: Result) => void): (result: Result) => void {
  const waiting = new Map<number, Result>()
  let next = 0
  return (result) => {
    waiting.set(result.index, result)
    for (let ready = waiting.get(next); ready; ready = waiting.get(next)) {
      waiting.delete(next)
      next += 1
      give(ready)
    }
  }
}

/** @throws what a thread threw: the seed that it was at is in the chunk that the message names. */
export async function runPool(options: PoolOptions): Promise<void> {
  const chunks = chunksOf(options.firstSeed, options.seeds, options.chunkSeeds)
  const setup: WorkerSetup = { profile: options.profile, commit: options.commit, isMeasuring: options.isMeasuring }
  const take = inOrder<ChunkDone>(({ part, coverage }) => options.onDone(part, coverage))
  let next = 0
  const runOne = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const worker = new Worker(new URL('./sweep-worker.ts', import.meta.url), { workerData: setup })
      let order: ChunkOrder | undefined
      const handOut = (): void => {
        order = chunks[next++]
        if (order) worker.postMessage(order, [])
        else void worker.terminate().then(() => resolve(), reject)
      }
      worker.on('message', (message: ChunkDone | ChunkFailed) => {
        if (message.kind === 'failed') return options.onFailed(message.lines)
        take(message)
        handOut()
      })
      worker.on('error', (error: Error) => {
        next = chunks.length
        reject(
          new Error(`seeds ${order?.firstSeed} to ${(order?.firstSeed ?? 0) + (order?.seeds ?? 0) - 1}: ${error.message}`, {
            cause: error,
          }),
        )
      })
      handOut()
    })
  await Promise.all(Array.from({ length: Math.min(options.workers, chunks.length) }, runOne))
}
