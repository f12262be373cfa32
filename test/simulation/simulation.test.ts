/** The simulation in CI: the same seed twice, every seed that ever failed, and a fresh sweep (docs/simulation.md). */
import { describe, expect, it } from 'vitest'
import { timelineOf } from '../../src/sim/sweep/explain.ts'
import { generate } from '../../src/sim/schedule/generate.ts'
import { runSchedule } from '../../src/sim/run/run.ts'
import type { Schedule } from '../../src/sim/schedule/schedule.ts'
import { rememberedSeeds } from '../../src/sim/schedule/seeds.ts'
import { sweep } from '../../src/sim/sweep/sweep.ts'
import { buildMutant, firstFailure } from './mutant.ts'
import { editsOf } from './mutations.ts'

/** By their number, not by a clock: a busy machine would look at fewer. */
const FRESH_SEEDS = { hostile: 360, ordinary: 100 } as const
/** A new range in each run of CI: its failing seeds are in the message and replay anywhere. */
const firstSeed = 10_000_000 + (Math.floor(Date.now() / 1000) % 100_000_000) * 10

describe('a simulated schedule', () => {
  it.each([1, 4, 13, 154, 1004, 2813])('gives the same log when seed %i is run twice', (seed) => {
    for (const profile of ['hostile', 'ordinary'] as const) {
      const once = runSchedule(generate(seed, profile), true)
      const again = runSchedule(generate(seed, profile), true)
      expect(once.log.length).toBeGreaterThan(10)
      expect(again.log).toEqual(once.log)
      expect(again.violations).toEqual(once.violations)
    }
  })

  it('is the same whether its log is kept or not', () => {
    for (const seed of [7, 8, 9]) {
      const quiet = runSchedule(generate(seed, 'hostile'))
      const traced = runSchedule(generate(seed, 'hostile'), true)
      expect([...quiet.counts]).toEqual([...traced.counts])
      expect(quiet.virtualMs).toBe(traced.virtualMs)
    }
  })

  it('counts the faults that were planned or struck, not what its operator presses after the repair', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const schedule = generate(seed, 'hostile')
      const faults = [...runSchedule(schedule).counts].filter(([what]) => what.startsWith('fault ') && what !== 'fault repair')
      const planned = schedule.planned.length
      const total = faults.reduce((sum, [, times]) => sum + times, 0)
      expect(total, `seed ${seed}`).toBeGreaterThanOrEqual(planned)
      expect(total, `seed ${seed}`).toBeLessThanOrEqual(planned + schedule.strikes.length)
    }
  })

  it.each(rememberedSeeds)('holds every property on $profile seed $seed, which once failed: $found', ({ seed, profile }) => {
    expect(runSchedule(generate(seed, profile)).violations).toEqual([])
  })

  it('fails small, and says what a person needs: seed, commit, command, the few faults that it takes, and what happens then', async () => {
    const mutant = await buildMutant(editsOf('a node is declared out of service before the proof'))
    const caught = firstFailure(
      mutant,
      'hostile',
      Array.from({ length: 400 }, (_, i) => i + 1),
    )
    expect(caught).toBeDefined()
    if (!caught) return
    const { seed, property, text } = caught
    const schedule = generate(seed, 'hostile')
    const small = mutant.shrink(schedule, property)
    const size = ({ planned, strikes }: Schedule): number => planned.length + strikes.length
    expect(size(schedule)).toBeGreaterThan(8)
    expect(size(small)).toBeLessThanOrEqual(4)
    expect(mutant.runSchedule(small).violations.map((violation) => violation.property)).toContain(property)
    // Each fault that is left is needed, and the shipped code survives them.
    for (const left of small.planned) {
      const without = { ...small, planned: small.planned.filter((one) => one !== left) }
      expect(mutant.runSchedule(without).violations.map((violation) => violation.property)).not.toContain(property)
    }
    expect(runSchedule(small).violations).toEqual([])

    const [failed, replay, shrunk, ...rest] = mutant.explain('hostile', { seed, property, text }, 'c0ffee')
    expect(failed).toBe(`FAILED seed ${seed} (${property}): ${text}`)
    expect(replay).toBe(`  commit c0ffee; replay: npm run simulate -- --profile hostile --seed ${seed} --trace`)
    expect(shrunk).toMatch(new RegExp(`shrunk to ${small.planned.length} faults and ${small.strikes.length} strikes, rooms of `))
    const then = rest.indexOf('  and what happens then, up to the violation:')
    expect(rest.slice(0, then)).toEqual(timelineOf(small).map((line) => `    ${line}`))
    const story = rest.slice(then + 1)
    expect(story.at(-1)).toMatch(new RegExp(`^ +\\d+\\.\\d{3} VIOLATION ${property}: `))
    expect(story.join('\n')).toContain('fence')
    const times = story.map((line) => Number(line.trim().split(' ')[0]))
    expect(times).toEqual(times.toSorted((a, b) => a - b))
  })
})

describe('a fresh sweep', () => {
  it.each(['hostile', 'ordinary'] as const)('of %s schedules holds every property', (profile) => {
    const { failures, seeds } = sweep(profile, firstSeed, FRESH_SEEDS[profile])
    expect(seeds).toBe(FRESH_SEEDS[profile])
    const shown = failures.map(
      ({ seed, property, text }) => `npm run simulate -- --profile ${profile} --seed ${seed} --trace: ${property}: ${text}`,
    )
    expect(shown).toEqual([])
  })
})
