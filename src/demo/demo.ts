/** `roomfence demo`: the embedded two-room cluster, one scenario, progress as it happens, a timeline, and non-zero if anything went wrong. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { InvalidArgumentError } from 'commander'
import { readScenario, scenarioNames } from '../scenario/file.ts'
import { describeFinding, type Finding } from './observer/judge.ts'
import { startProgress } from './run/progress.ts'
import { meddle } from './run/meddle.ts'
import { isAfterParting } from './run/excuse.ts'
import { PARTED_MOMENT, playable } from './run/play.ts'
import { type Scenario, scenarios } from './run/scenarios.ts'
import { type BrokenRule, type Demo, setUp } from './run/setup.ts'
import { createControls, expectedVms, type Controls } from './run/controls.ts'
import { timeline } from './run/timeline.ts'
import { untouchedIn } from './run/translate.ts'

export interface DemoCommand {
  readonly scenario: string
  readonly list?: boolean
  readonly keep?: boolean
  readonly watchdog: boolean
  readonly freeze: boolean
  readonly break?: BrokenRule
  readonly vms?: number
  readonly nodesARoom?: number
  /** How roomfence is run, without its arguments: by default as the program that runs the demo. */
  readonly program?: readonly string[]
}

export interface DemoResult {
  /** What a user would call wrong; empty: all well. */
  readonly wrongs: readonly string[]
  /** What the observer saw, by type. */
  readonly findings: readonly string[]
  readonly lines: readonly string[]
}

const VMS = 12
const NODES_A_ROOM = 3
const BROKEN_FOR_S = 45

/** @returns the exit code. */
export async function demo(command: DemoCommand): Promise<number> {
  const print = (line: string): void => void process.stdout.write(`${line}\n`)
  if (command.list === true || command.scenario === 'list') {
    for (const line of listScenarios()) print(line)
    return 0
  }
  const { wrongs } = await runDemo(command, print)
  if (wrongs.length === 0) print('\nNothing went wrong: no VM ran twice, no acknowledged record is missing.')
  else print(`\nWrong (${wrongs.length}):\n${wrongs.map((wrong) => `  ${wrong}`).join('\n')}`)
  return wrongs.length === 0 ? 0 : 1
}

/** Runs one scenario from nothing to nothing: no process of it is left afterwards. */
export async function runDemo(command: DemoCommand, print: (line: string) => void): Promise<DemoResult> {
  const played = findScenario(command)
  const broken = command.break
  const directory = mkdtempSync(join(tmpdir(), 'rf-'))
  const main = process.argv[1]
  const lines: string[] = []
  const say = (line: string): void => {
    lines.push(line)
    print(line)
  }
  say(`roomfence demo: ${command.scenario}: ${played.description}`)
  let running: Demo | undefined
  const interrupt = (): void => {
    void (running?.stop() ?? Promise.resolve()).finally(() => process.exit(130))
  }
  process.once('SIGINT', interrupt)
  process.once('SIGTERM', interrupt)
  try {
    running = await setUp({
      directory,
      nodesARoom: command.nodesARoom ?? played.nodesARoom,
      vmCount: command.vms ?? VMS,
      hasWitness: played.hasWitness,
      hasWatchdog: command.watchdog && played.hasWatchdog && broken !== 'permits',
      watchdogSeconds: played.watchdogSeconds,
      freeze: command.freeze && played.freeze && broken !== 'permits',
      broken,
      program: command.program ?? agentProgram(main),
      say,
    })
    const progress = startProgress(running, say)
    const stage = createControls(running, progress)
    try {
      await warmUp(stage)
      if (stage.wrongs.length === 0) {
        const stopMeddling = meddle(stage, broken)
        await (broken ? Promise.race([played.run(stage), untilFound(stage)]) : played.run(stage))
        stopMeddling()
      }
      await sleep(1_000)
      const { observer } = running.rooms
      const all = observer.judge({ healthyNodes: new Set(played.untouchedNodes(running)) })
      const partedAtMs = stage.moments.get(PARTED_MOMENT)
      const isExcused = (finding: Finding): boolean =>
        !played.freeze && partedAtMs !== undefined && isAfterParting(finding, observer.events(), partedAtMs)
      const findings = all.filter((finding) => !isExcused(finding))
      if (findings.length < all.length)
        say(
          `lost without freeze mode, as docs/limits.md says: ${all.length - findings.length} findings on writes acknowledged after the cut`,
        )
      for (const finding of findings) stage.wrong(describeFinding(finding))
      for (const line of timeline(stage)) say(line)
      return { wrongs: stage.wrongs, findings: findings.map(({ type }) => type), lines }
    } finally {
      progress.stop()
    }
  } finally {
    process.removeListener('SIGINT', interrupt)
    process.removeListener('SIGTERM', interrupt)
    await running?.stop()
    if (command.keep === true) say(`kept: ${directory}`)
    else rmSync(directory, { recursive: true, force: true })
  }
}

/** With a rule broken on purpose the run ends when the observer has seen it, or after a while in which it saw nothing. */
async function untilFound({ demo: played }: Controls): Promise<void> {
  for (let tries = 0; tries < BROKEN_FOR_S; tries++) {
    await sleep(1_000)
    const healthyNodes = new Set(played.rooms.nodesOf(played.roomNames[0]).map(({ name }) => name))
    if (played.rooms.observer.judge({ healthyNodes }).length > 0) return
  }
}

/** The same program as this one: its bundle, or its source. */
function agentProgram(main: string | undefined): readonly string[] {
  const isProgram = main !== undefined && /(?:roomfence\.mjs|cli\/main\.ts|\/roomfence)$/.test(main)
  return [process.execPath, isProgram ? main : new URL('../cli/main.ts', import.meta.url).pathname]
}

interface Played extends Scenario {
  readonly nodesARoom: number
  readonly hasWitness: boolean
  readonly hasWatchdog: boolean
  readonly watchdogSeconds: number | undefined
  readonly freeze: boolean
  readonly untouchedNodes: (demo: Demo) => readonly string[]
}

/** @throws when there is no such scenario, or when real processes cannot play it: with the reason. */
function findScenario({ scenario: name }: DemoCommand): Played {
  const own = scenarios[name]
  if (own) {
    const all = { nodesARoom: NODES_A_ROOM, hasWitness: true, hasWatchdog: true, watchdogSeconds: undefined, freeze: true }
    return { ...own, ...all, untouchedNodes: (played) => untouchedNodes(name, played) }
  }
  const files = scenarioNames()
  if (!files.includes(name)) {
    const missing =
      files.length === 0 ? ' (there is no folder test/scenarios beside src: those of the simulator need a checkout of the repository)' : ''
    throw new InvalidArgumentError(`--scenario: saw "${name}"; allowed: ${[...Object.keys(scenarios), ...files].join(', ')}${missing}`)
  }
  const file = readScenario(name)
  return {
    ...playable(file),
    nodesARoom: file.rooms[0] ?? NODES_A_ROOM,
    hasWitness: file.witness,
    hasWatchdog: file.watchdogMs !== null,
    watchdogSeconds: typeof file.demo === 'string' ? undefined : file.demo.watchdogSeconds,
    freeze: file.freezeMode,
    untouchedNodes: () => untouchedIn(file),
  }
}

/** The demo's own scenarios, then the files that the simulator plays too, with who can play them. */
function listScenarios(): readonly string[] {
  const own = Object.entries(scenarios).map(([name, { description }]) => `${name.padEnd(36)} ${description}`)
  const files = scenarioNames().map((name) => {
    const { title, demo: played } = readScenario(name)
    return `${name.padEnd(36)} ${title}${typeof played === 'string' ? ` (simulator only: ${played})` : ''}`
  })
  return [
    'of the demo:',
    ...own,
    ...(files.length > 0 ? ['', 'of the simulator and the demo (npm run simulate -- --scenario NAME):', ...files] : []),
  ]
}

/** Nodes to which the scenario does nothing at all: no copy of a VM may end there. */
function untouchedNodes(scenario: string, played: Demo): readonly string[] {
  if (scenario === 'room-power' || scenario === 'single-node' || scenario === 'link-cut')
    return played.rooms.nodesOf(played.roomNames[0]).map(({ name }) => name)
  if (scenario === 'api-outage' || scenario === 'link-and-witness-lost') return played.rooms.nodesOf().map(({ name }) => name)
  return []
}

async function warmUp(stage: Controls): Promise<void> {
  const expected = expectedVms(stage)
  await stage.until(`${expected.length} VMs to write`, () => expected.every((vm) => stage.writing().has(vm)), 60_000)
  const isQuiet = (): boolean =>
    [...stage.progress.statuses().values()].filter(({ permitRemainingSeconds }) => permitRemainingSeconds > 0).length ===
    stage.demo.observePorts.size
  await stage.until('every node to have a permit', isQuiet, 30_000)
  stage.say(`${expected.length} VMs write, every node has a permit`)
  await stage.pause(2_500)
}
