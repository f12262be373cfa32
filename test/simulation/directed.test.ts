/** A schedule written for one rule each, whether ordinary ones find it too or not: the shipped code survives the schedule that was written for each, and without the rule it does not. */
import { describe, expect, it } from 'vitest'
import { runSchedule } from '../../src/sim/run/run.ts'
import { directed } from './directed.ts'
import { buildMutant, withoutInvariants } from './mutant.ts'

/** A few orders of the same story. */
const SEEDS = 4

describe('a directed schedule', () => {
  it('is there for each mutation once', () => {
    const names = directed.map(({ name }) => name)
    expect(new Set(names).size).toBe(names.length)
  })

  it.each(directed)(
    'catches: $name',
    async ({ edits, caughtBy, schedule, seeds = SEEDS }) => {
      const mutant = await buildMutant([...edits, ...withoutInvariants])
      for (let seed = 1; seed <= seeds; seed++) {
        expect(runSchedule(schedule(seed)).violations, `seed ${seed} of the shipped code`).toEqual([])
        if (mutant.runSchedule(schedule(seed)).violations[0]?.property === caughtBy) return
      }
      expect.fail('the mutation survived')
    },
    60_000,
  )
})
