/** `npm run simulate`: many seeds on one core or more, one seed with its whole story, or a named scenario (docs/simulation.md). */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { InvalidArgumentError } from 'commander'
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

/** The options of `roomfence simulate`, as src/cli/main.ts reads them. */
export interface SimulateCommand {
  readonly seeds?: number
  readonly seed?: number
  readonly profile: Profile
  readonly workers: number
  readonly coverage: boolean
  readonly resume?: string
  readonly report?: string
  readonly trace: boolean
  readonly scenario?: string
}

const CHUNK = 50
/** What the simulator runs: another commit that changed none of it is the same code. */
const simulated = ['src/protocol', 'src/sim', 'src/drbd']

/**
 * @returns the process's exit code: 0 all held, 1 a property failed.
 * @throws InvalidArgumentError for a file or a scenario that cannot be used.
 */
export async function simulate({ profile, seed, seeds, workers, coverage, resume, ...command }: SimulateCommand): Promise<number> {
  if (command.report !== undefined) return printReport(command.report)
  if (command.scenario !== undefined) return runScenario(command.scenario)
  if (command.trace) return trace(profile, seed ?? freshSeed(), seeds ?? 1)
  return runMany({ profile, firstSeed: seed, seeds: seeds ?? 1000, workers, isMeasuring: coverage, resume })
}

const print = (text: string): void => void process.stdout.write(`${text}\n`)

const wrongFile = (option: string, path: string, error: unknown): InvalidArgumentError =>
  new InvalidArgumentError(`${option} ${path}: ${error instanceof Error ? error.message : String(error)}`)

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
      throw wrongFile('--resume', resume, error)
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
    throw wrongFile('--report', path, error)
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
  if (!scenario) throw new InvalidArgumentError(`--scenario: saw "${name}"; allowed: ${scenarioNames().join(', ')}`)
  const { log, violations, unmet } = runSchedule(scenario.schedule, true, scenario.checkpoints)
  print(log.join('\n'))
  for (const text of unmet) print(`NOT AS EXPECTED ${text}`)
  return violations.length + unmet.length > 0 ? 1 : 0
}
