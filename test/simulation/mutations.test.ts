/** The simulation is able to fail: each rule that is taken out of the decision code is missed by a property, within the seeds that the list says. */
import { describe, expect, it } from 'vitest'
import { buildMutant, firstFailure } from './mutant.ts'
import { mutations } from './mutations.ts'

/** From a little before the seed that is known to catch it; a changed generator may need more, but not many more. */
const BEFORE = 3
const MORE = 600

describe('ordinary hostile schedules', () => {
  it('are judged against mutations that each have their own name', () => {
    expect(new Set(mutations.map(({ name }) => name)).size).toBe(mutations.length)
  })

  it.each(mutations)(
    'catch: $name',
    async ({ edits, caughtBy, firstSeed }) => {
      const mutant = await buildMutant(edits)
      const from = Math.max(1, firstSeed - BEFORE)
      const caught = firstFailure(
        mutant,
        'hostile',
        Array.from({ length: MORE }, (_, i) => from + i),
      )
      expect(caught, 'the mutation survived').toBeDefined()
      expect(caught?.property).toBe(caughtBy)
    },
    120_000,
  )
})
