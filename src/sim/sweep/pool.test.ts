/** How a range of seeds is split and put together again, and how far it is told to be. */
import { assert, integer, nat, property, shuffledSubarray } from 'fast-check'
import { describe, expect, it } from 'vitest'
import { chunksOf, inOrder } from './pool.ts'
import { describeProgress } from './progress.ts'

describe('a range of seeds', () => {
  it('is split into chunks that have each seed once', () => {
    assert(
      property(nat(2_000), integer({ min: 1, max: 300 }), (seeds, chunkSeeds) => {
        const all = chunksOf(500, seeds, chunkSeeds).flatMap((chunk) => Array.from({ length: chunk.seeds }, (_, i) => chunk.firstSeed + i))
        expect(all).toEqual(Array.from({ length: seeds }, (_, i) => 500 + i))
      }),
    )
  })

  it('is put together in order, whichever chunk is done first', () => {
    const order = integer({ min: 1, max: 30 }).chain((n) => {
      const indices = Array.from({ length: n }, (_, index) => index)
      return shuffledSubarray(indices, { minLength: n })
    })
    assert(
      property(order, (indices) => {
        const given: number[] = []
        const take = inOrder<{ index: number }>(({ index }) => given.push(index))
        for (const index of indices) take({ index })
        expect(given).toEqual(indices.toSorted((a, b) => a - b))
      }),
    )
  })
})

describe('progress', () => {
  it('says how many, how fast and how long still', () => {
    expect(describeProgress(300, 1000, 1, 5_000)).toBe('300 of 1000 (30 %), 60 a second, 12 s left, 1 failed')
    expect(describeProgress(10, 100_000, 0, 1_000)).toContain('166 min 39 s left')
    expect(describeProgress(0, 100, 0, 1_000)).toContain('unknown left')
  })
})
