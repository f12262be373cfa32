/** `npm run simulate`: many seeds on one core or more, one seed with its whole story, or a named scenario (docs/simulation.md). */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { describeCoverage } from './sweep/coverage.ts'
import { describeWorld, timelineOf } from './sweep/explain.ts'
import { generate } from './schedule/generate.ts'
import { scenarioNames } from '../scenario/file.ts'
import { addToPart, type Part, readParts, report, resumeParts, startPart, summarise, writeParts } from './sweep/parts.ts'
import { runPool } from './sweep/pool.ts'
import { startProgress } from './sweep/progress.ts'
import { runSchedule } from './run/run.ts'
import { findScenario } from './run/scenarios.ts'
import type { Profile } from './schedule/schedule.ts'

const USAGE = `npm run simulate -- [--seeds N] [--seed S] [--profile ordinary|hostile] [--workers N] [--coverage] [--resume FILE]
                    [--trace] [--scenario NAME] [--report FILE]

  --seeds N      how many schedules (default 1000, or 1 with --trace)
  --seed S       the first seed (default: by the time of day, so that each run is a fresh sweep)
  --profile P    hostile (default): short margins, tens of faults in minutes; ordinary: default times
  --workers N    run on so many cores (default 1); the result is the same
  --coverage     count which branches of src/protocol the schedules ran, and list those that none did; two to three times slower
  --resume FILE  keep in FILE how far this came, in parts with their commit: the same command again goes on until the part has
                 N schedules; another commit begins another part, with seeds that no part before has run
  --report FILE  print FILE's parts as a table for docs/simulation.md, and run nothing
  --trace        print each run's whole log
  --scenario N   run one scenario and print its log; "list" names them
`

const CHUNK = 50
/** What the simulator runs: another commit that changed none of it is the same code. */
const simulated = ['src/protocol', 'src/sim', 'src/drbd']

/** @returns the process's exit code: 0 all held, 1 a property failed, 2 wrong use. */
export async function simulate(args: readonly string[]): Promise<number> {
  let options
  try {
    options = parseArgs({
      args: [...args],
      options: {
        seeds: { type: 'string' },
        seed: { type: 'string' },
        profile: { type: 'string', default: 'hostile' },
        workers: { type: 'string' },
        coverage: { type: 'boolean', default: false },
        scenario: { type: 'string' },
        resume: { type: 'string' },
        report: { type: 'string' },
        trace: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    }).values
  } catch (error) {
    return wrong(error instanceof Error ? error.message : String(error))
  }
  if (options.help) {
    print(USAGE)
    return 0
  }
  const { profile } = options
  if (profile !== 'ordinary' && profile !== 'hostile') return wrong(`--profile is ${profile}, but must be ordinary or hostile`)
  const seeds = wholeNumber(options.seeds, options.trace ? 1 : 1000)
  const firstSeed = options.seed === undefined ? undefined : wholeNumber(options.seed, 0)
  const workers = wholeNumber(options.workers, 1)
  if (seeds === 'wrong') return wrong(`--seeds is ${options.seeds}, but must be a whole number above 0`)
  if (firstSeed === 'wrong') return wrong(`--seed is ${options.seed}, but must be a whole number above 0`)
  if (workers === 'wrong' || workers > 64) return wrong(`--workers is ${options.workers}, but must be a whole number from 1 to 64`)
  if (options.report !== undefined) return printReport(options.report)
  if (options.scenario !== undefined) return runScenario(options.scenario)
  if (options.trace) return trace(profile, firstSeed ?? freshSeed(), seeds)
  return runMany({ profile, firstSeed, seeds, workers, isMeasuring: options.coverage, resume: options.resume })
}

const print = (text: string): void => void process.stdout.write(`${text}\n`)

function wrong(reason: string): number {
  process.stderr.write(`simulate: ${reason}\n\n${USAGE}`)
  return 2
}

function wholeNumber(text: string | undefined, otherwise: number): number | 'wrong' {
  if (text === undefined) return otherwise
  return /^[1-9][0-9]{0,11}$/.test(text) ? Number(text) : 'wrong'
}

/** The one place where the simulator looks at a real clock for more than its own speed: to begin where no run began before. */
const freshSeed = (): number => 1_000_000 + (Math.floor(Date.now() / 1000) % 1_000_000_000)

/** The last commit that changed what the simulator runs, `-dirty` when its files are others now. */
function commitOf(): string {
  const root = new URL('../..', import.meta.url)
  const git = (...words: string[]): string =>
    execFileSync('git', [...words, '--', ...simulated], { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  try {
    const commit = git('log', '-1', '--format=%h', '--abbrev=12')
    return git('status', '--porcelain') === '' ? commit : `${commit}-dirty`
  } catch {
    return 'unknown'
  }
}

interface ManyOptions {
  readonly profile: Profile
  readonly firstSeed: number | undefined
  readonly seeds: number
  readonly workers: number
  readonly isMeasuring: boolean
  readonly resume: string | undefined
}

async function runMany({ profile, firstSeed, seeds, workers, isMeasuring, resume }: ManyOptions): Promise<number> {
  const commit = commitOf()
  let before: readonly Part[] = []
  let current = startPart(commit, profile, firstSeed ?? freshSeed())
  if (resume !== undefined) {
    try {
      const parts = existsSync(resume) ? readParts(readFileSync(resume, 'utf8')) : []
      ;({ before, current } = resumeParts(parts, commit, profile, firstSeed, freshSeed()))
    } catch (error) {
      return wrong(`--resume ${resume}: ${error instanceof Error ? error.message : String(error)}`)
    }
    if (commit.endsWith('-dirty'))
      process.stderr.write(`simulate: ${commit}: what is simulated is not committed, so no commit stands for this part\n`)
    if (current.total.seeds >= seeds) print(`${resume} has ${current.total.seeds} schedules of this part already`)
  }
  const left = Math.max(0, seeds - current.total.seeds)
  const telling = startProgress(left)
  await runPool({
    profile,
    commit,
    isMeasuring,
    workers,
    firstSeed: current.total.firstSeed + current.total.seeds,
    seeds: left,
    chunkSeeds: CHUNK,
    onFailed: (lines) => print(lines.join('\n')),
    onDone: (part, coverage) => {
      current = addToPart(current, part, coverage)
      telling.done(part.seeds, part.failures.length)
      if (resume === undefined) return
      writeFileSync(`${resume}.new`, writeParts([...before, current]))
      renameSync(`${resume}.new`, resume)
    },
  })
  const tookMs = telling.stop()
  for (const line of summarise(current)) print(line)
  if (left > 0) print(`${left} schedules in ${(tookMs / 1000).toFixed(0)} s of real time on ${workers} core${workers > 1 ? 's' : ''}`)
  if (current.measuredSeeds > 0) for (const line of describeCoverage(current.coverage, readSource)) print(line)
  return current.total.failures.length > 0 ? 1 : 0
}

const readSource = (file: string): string => readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8')

function printReport(path: string): number {
  try {
    for (const line of report(readParts(readFileSync(path, 'utf8')))) print(line)
    return 0
  } catch (error) {
    return wrong(`--report ${path}: ${error instanceof Error ? error.message : String(error)}`)
  }
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
  const { log, violations, unmet } = runSchedule(scenario.schedule, true, scenario.checkpoints)
  print(log.join('\n'))
  for (const text of unmet) print(`NOT AS EXPECTED ${text}`)
  return violations.length + unmet.length > 0 ? 1 : 0
}
