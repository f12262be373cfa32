/** `npm run simulate`: many seeds, one seed with its whole story, or a named scenario (docs/simulation.md). */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { generate } from './generate.ts'
import { runSchedule } from './run.ts'
import { findScenario, scenarioNames } from './scenarios.ts'
import type { Fault, Profile, Schedule } from './schedule.ts'
import { shrink } from './shrink.ts'
import { addSweeps, type Failure, type Sweep, sweep } from './sweep.ts'

const usage = `npm run simulate -- [--seeds N] [--seed S] [--profile ordinary|hostile] [--trace] [--scenario NAME] [--resume FILE]

  --seeds N      how many schedules (default 1000, or 1 with --trace)
  --seed S       the first seed (default: by the time of day, so that each run is a fresh sweep)
  --profile P    hostile (default): short margins, tens of faults in minutes; ordinary: default times
  --trace        print each run's whole log
  --scenario N   run one scenario and print its log; "list" names them
  --resume FILE  go on where FILE says that an earlier run stopped, and write there how far this one came
`

const CHUNK = 500

/** @returns the process's exit code: 0 all held, 1 a property failed, 2 wrong use. */
export async function simulate(args: readonly string[]): Promise<number> {
  await Promise.resolve()
  let options
  try {
    options = parseArgs({
      args: [...args],
      options: {
        seeds: { type: 'string' },
        seed: { type: 'string' },
        profile: { type: 'string', default: 'hostile' },
        scenario: { type: 'string' },
        resume: { type: 'string' },
        trace: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    }).values
  } catch (error) {
    return wrong(error instanceof Error ? error.message : String(error))
  }
  if (options.help) {
    print(usage)
    return 0
  }
  const { profile } = options
  if (profile !== 'ordinary' && profile !== 'hostile') return wrong(`--profile is ${profile}, but must be ordinary or hostile`)
  const seeds = wholeNumber(options.seeds, options.trace ? 1 : 1000)
  const firstSeed = wholeNumber(options.seed, freshSeed())
  if (seeds === null) return wrong(`--seeds is ${options.seeds}, but must be a whole number above 0`)
  if (firstSeed === null) return wrong(`--seed is ${options.seed}, but must be a whole number above 0`)
  if (options.scenario !== undefined) return runScenario(options.scenario)
  if (options.trace) return trace(profile, firstSeed, seeds)
  return runMany(profile, firstSeed, seeds, options.resume)
}

const print = (text: string): void => void process.stdout.write(`${text}\n`)

function wrong(reason: string): number {
  process.stderr.write(`simulate: ${reason}\n\n${usage}`)
  return 2
}

function wholeNumber(text: string | undefined, otherwise: number): number | null {
  if (text === undefined) return otherwise
  return /^[1-9][0-9]{0,11}$/.test(text) ? Number(text) : null
}

/** The one place where the simulator looks at a real clock: to begin where no run began before. */
const freshSeed = (): number => 1_000_000 + (Math.floor(Date.now() / 1000) % 1_000_000_000)

function commitOf(): string {
  try {
    return execFileSync('git', ['describe', '--always', '--dirty', '--abbrev=12'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim()
  } catch {
    return 'unknown'
  }
}

function runMany(profile: Profile, from: number, seeds: number, resume: string | undefined): number {
  let total: Sweep = { profile, firstSeed: from, seeds: 0, virtualMs: 0, longestStallMs: 0, failures: [], counts: {} }
  const commit = commitOf()
  if (resume !== undefined && existsSync(resume)) {
    const before = JSON.parse(readFileSync(resume, 'utf8')) as { readonly commit: string; readonly total: Sweep }
    if (before.commit !== commit || before.total.profile !== profile)
      return wrong(
        `${resume} is of commit ${before.commit}, profile ${before.total.profile}; this is ${commit}, ${profile}: take another file`,
      )
    total = before.total
  }
  const startMs = performance.now()
  let next = total.firstSeed + total.seeds
  for (let left = seeds; left > 0; left -= CHUNK) {
    const part = sweep(profile, next, Math.min(CHUNK, left))
    next += part.seeds
    total = addSweeps(total, part)
    for (const failure of part.failures.slice(0, 3)) explain(profile, failure, commit)
    if (resume !== undefined) writeFileSync(resume, `${JSON.stringify({ commit, total }, null, 1)}\n`)
  }
  const tookMs = performance.now() - startMs
  print(summary(total, commit))
  print(`${(total.virtualMs / 3_600_000).toFixed(1)} h of virtual time, ${(tookMs / 1000).toFixed(0)} s of real time`)
  return total.failures.length > 0 ? 1 : 0
}

function summary(total: Sweep, commit: string): string {
  const faults = Object.entries(total.counts).filter(([what]) => what.startsWith('fault '))
  const lines = [
    `${total.seeds} ${total.profile} schedules from seed ${total.firstSeed} on commit ${commit}: ${total.failures.length} failed`,
    `${total.counts['failovers'] ?? 0} failovers, ${total.counts['epochs fence'] ?? 0} fences, ${total.counts['strikes'] ?? 0} strikes at protocol moments, longest stall after a room's loss ${(total.longestStallMs / 1000).toFixed(1)} s`,
    `faults: ${faults.map(([what, count]) => `${what.slice(6)} ${count}`).join(', ')}`,
  ]
  return lines.join('\n')
}

function explain(profile: Profile, failure: Failure, commit: string): void {
  print(`FAILED seed ${failure.seed} (${failure.property}): ${failure.text}`)
  print(`  commit ${commit}; replay: npm run simulate -- --profile ${profile} --seed ${failure.seed} --trace`)
  const small = shrink(generate(failure.seed, profile), failure.property)
  print(`  shrunk to ${small.planned.length} faults and ${small.strikes.length} strikes, ${describeWorld(small)}:`)
  for (const line of timelineOf(small)) print(`    ${line}`)
  const outcome = runSchedule(small, true)
  const at = outcome.log.findIndex((line) => line.includes('VIOLATION'))
  print('  and what happens then, up to the violation:')
  for (const line of outcome.log.slice(Math.max(0, at - 25), at + 1)) print(`    ${line}`)
}

const describeWorld = ({ options }: Schedule): string =>
  `rooms of ${options.nodesOfRooms.join('+')} nodes, ${options.hasWitness ? 'with' : 'without'} witness, ${options.isFreezeMode ? 'freeze mode' : 'no freeze mode'}, ${options.paths} path${options.paths > 1 ? 's' : ''}`

function timelineOf(schedule: Schedule): readonly string[] {
  return [
    ...schedule.planned.map(({ atMs, fault }) => `${(atMs / 1000).toFixed(3).padStart(9)} s  ${describeFault(fault)}`),
    ...schedule.strikes.map(({ moment, nth, fault }) => `at the ${nth}. "${moment}"  ${describeFault(fault)}`),
    `${(schedule.untilMs / 1000).toFixed(3).padStart(9)} s  everything is repaired`,
  ]
}

function describeFault(fault: Fault): string {
  const { kind, ...rest } = fault
  const words = Object.entries(rest)
    .filter(([, value]) => value !== null && value !== false)
    .map(([name, value]) => (value === true ? name : `${name} ${typeof value === 'number' ? Math.round(value * 1000) / 1000 : value}`))
  return [kind, ...words].join(' ')
}

function trace(profile: Profile, firstSeed: number, seeds: number): number {
  let failed = 0
  for (let seed = firstSeed; seed < firstSeed + seeds; seed++) {
    const schedule = generate(seed, profile)
    print(`seed ${seed}, ${profile}: ${describeWorld(schedule)}`)
    for (const line of timelineOf(schedule)) print(`  ${line}`)
    const outcome = runSchedule(schedule, true)
    for (const line of outcome.log) print(line)
    for (const { property, text } of outcome.violations) print(`FAILED ${property}: ${text}`)
    if (outcome.violations.length > 0) failed += 1
  }
  return failed > 0 ? 1 : 0
}

function runScenario(name: string): number {
  if (name === 'list') {
    print(scenarioNames().join('\n'))
    return 0
  }
  const scenario = findScenario(name)
  if (!scenario) return wrong(`--scenario is ${name}, but must be one of: ${scenarioNames().join(', ')}`)
  const outcome = runSchedule(scenario.schedule, true)
  print(outcome.log.join('\n'))
  return outcome.violations.length > 0 ? 1 : 0
}
