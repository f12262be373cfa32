/** Each scenario gives exactly its `log.expect`, in virtual time. To write them anew after a change that is meant: `UPDATE_SCENARIOS=1`, and read the diff. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { runSchedule } from '../../src/sim/run/run.ts'
import { scenarioNames } from '../../src/scenario/file.ts'
import { findScenario } from '../../src/sim/run/scenarios.ts'

const isUpdating = process.env['UPDATE_SCENARIOS'] === '1' && process.env['CI'] !== 'true'

describe('scenario', () => {
  it.each(scenarioNames())('%s gives its log', (name) => {
    const folder = new URL(`../scenarios/${name}/`, import.meta.url)
    const scenario = findScenario(name)
    expect(scenario).toBeDefined()
    if (!scenario) return
    const outcome = runSchedule(scenario.schedule, true, scenario.checkpoints)
    expect(outcome.violations).toEqual([])
    expect(outcome.unmet).toEqual([])
    const log = `${outcome.log.join('\n')}\n`
    const expected = new URL('log.expect', folder)
    if (isUpdating) writeFileSync(expected, log)
    expect(existsSync(expected), `${name} has no log.expect`).toBe(true)
    expect(log).toBe(readFileSync(expected, 'utf8'))
    expect(readFileSync(new URL('README.md', folder), 'utf8')).toMatch(/\*\*Must happen\*\*: [^]*\*\*Re-enacts\*\*: /)
  })
})
