/** Rules that ordinary hostile schedules hardly need: the shipped code survives the schedule that was written for each, and without the rule it does not. */
import { describe, expect, it } from 'vitest'
import { runSchedule } from '../../src/sim/run.ts'
import { directed } from './directed.ts'
import { buildMutant } from './mutant.ts'
import { mutations } from './mutations.ts'

/** A few orders of the same story. */
const SEEDS = 4

describe('a directed schedule', () => {
  it('is there for each mutation once, and for none that ordinary ones catch', () => {
    const names = [...directed, ...mutations].map(({ name }) => name)
    expect(new Set(names).size).toBe(names.length)
  })

  it.each(directed)(
    'catches: $name',
    async ({ edits, caughtBy, schedule, seeds = SEEDS }) => {
      const mutant = await buildMutant(edits)
      for (let seed = 1; seed <= seeds; seed++) {
        expect(runSchedule(schedule(seed)).violations, `seed ${seed} of the shipped code`).toEqual([])
        if (mutant.runSchedule(schedule(seed)).violations[0]?.property === caughtBy) return
      }
      expect.fail('the mutation survived')
    },
    60_000,
  )
})
