/** Parts of a resumable sweep: what goes on, what begins anew, and what is told of them. */
import { describe, expect, it } from 'vitest'
import { addToPart, readParts, report, resumeParts, startPart, summarise, writeParts } from './parts.ts'
import type { Sweep } from './sweep.ts'

const swept = (firstSeed: number, seeds: number, failures: Sweep['failures'] = []): Sweep => ({
  profile: 'hostile',
  firstSeed,
  seeds,
  virtualMs: seeds * 36_000,
  longestStallMs: 9_000 + seeds,
  failures,
  counts: { failovers: 2 * seeds, 'epochs fence': seeds, strikes: 3 * seeds, 'fault cut': 5 * seeds, 'fault repair': seeds },
})
const coverage = { 'src/protocol/step.ts': { covered: ['1-9'], uncovered: ['3-4'] } }
const first = addToPart(startPart('aaaa', 'hostile', 1000), swept(1000, 200), coverage)

describe('a sweep in parts', () => {
  it('goes on in the part of its commit', () => {
    expect(resumeParts([first], 'aaaa', 'hostile', undefined, 7)).toEqual({ before: [], current: first })
    expect(resumeParts([first], 'aaaa', 'hostile', 1000, 7)).toEqual({ before: [], current: first })
  })

  it('begins another part for another commit, with seeds that no part has run', () => {
    const { before, current } = resumeParts([first], 'bbbb', 'hostile', undefined, 7)
    expect(before).toEqual([first])
    expect(current).toEqual(startPart('bbbb', 'hostile', 1200))
    expect(resumeParts([first], 'bbbb', 'hostile', 1000, 7).current.total.firstSeed).toBe(1000)
    expect(resumeParts([first], 'aaaa', 'ordinary', undefined, 7).current).toEqual(startPart('aaaa', 'ordinary', 7))
    expect(resumeParts([], 'aaaa', 'hostile', undefined, 7).current.total.firstSeed).toBe(7)
  })

  it('is the same after it was written and read', () => {
    expect(readParts(writeParts([first]))).toEqual([first])
  })

  it('names the field of a file that is none of its own', () => {
    expect(() => readParts('{"commit":"aaaa","total":{}}')).toThrow(/parts/)
    expect(() => readParts(writeParts([first]).replace('"hostile"', '"kind"'))).toThrow(/parts\[0\]\.total\.profile/)
  })

  it('is told with its figures, one row for each part and one for all', () => {
    const failure = { seed: 1203, property: 'P1 single writer', text: 'vm0 can write on a1 and b1' }
    const second = addToPart(startPart('bbbb', 'hostile', 1200), swept(1200, 1000, [failure]), undefined)
    expect(report([first, second, startPart('cccc', 'hostile', 1)])).toEqual([
      '| commit | schedules | failovers | fences | strikes | virtual time | longest stall | protocol branches | failed |',
      '|---|---|---|---|---|---|---|---|---|',
      '| aaaa | 200 hostile from seed 1000 | 400 | 200 | 600 | 2 h | 9.2 s | 1 of 2 (50.0 %) | none |',
      '| bbbb | 1,000 hostile from seed 1200 | 2,000 | 1,000 | 3,000 | 10 h | 10.0 s | not counted | P1 single writer in 1 (1203) |',
      '| all | 1,200 | 2,400 | 1,200 | 3,600 | 12 h | 10.0 s |  | P1 single writer in 1 (1203) |',
      '',
      'Faults by kind: cut 6,000.',
    ])
    expect(report([])).toEqual(['no part has run'])
    expect(summarise(second).join('\n')).toContain('1 failed\nfailed: P1 single writer in 1 (1203)\n')
    expect(summarise(first).join('\n')).toContain('branches of src/protocol: 1 of 2 (50.0 %), counted in 200 of them')
  })

  it('says of how many schedules the branches were counted when not of all', () => {
    const half = addToPart(first, swept(1200, 200), undefined)
    expect(half.measuredSeeds).toBe(200)
    expect(report([half]).join('\n')).toContain('1 of 2 (50.0 %), in 200 of them')
  })
})
