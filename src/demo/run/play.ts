/** Plays a scenario file with real processes: each step at its time, each expectation as soon as it holds, and what nobody expected told at once. */
import { monotonicMs } from '../storage/replica.ts'
import type { ScenarioFile } from '../../scenario/file.ts'
import { API_SITE } from '../nodes/rooms.ts'
import { PATHS, WITNESS_SITE } from './setup.ts'
import { safeToUnfence, type Scenario } from './scenarios.ts'
import type { Controls } from './controls.ts'
import { type Act, commandLine, type NodeExpectation, type TimedAct, translate } from './translate.ts'

/** An expectation may come so much later than in the simulator: these are forty processes on a shared machine. Later steps wait for it. */
const PATIENCE_MS = 60_000
/** It must hold for so long. */
const STEADY_MS = 1_000

export function playable(file: ScenarioFile): Scenario {
  const acts = translate(file)
  return { description: file.title, run: (stage) => play(stage, acts) }
}

async function play(stage: Controls, acts: readonly TimedAct[]): Promise<void> {
  const start: Start = { instances: stage.instances(), homes: homesOf(stage), writing: stage.writing() }
  const fenced = new Set(acts.flatMap(({ act }) => (act.kind === 'expect' ? act.expectation.fenced : [])))
  const lost: Lost = { fenced, powerless: new Set(acts.flatMap(({ act }) => (act.kind === 'power-off' ? act.nodes : []))) }
  const ended = new AbortController()
  const watching = watchFences(stage, fenced, ended.signal)
  const wasWrong = stage.wrongs.length
  // What an expectation took longer than its time moves all that comes after it.
  let zeroMs = monotonicMs()
  for (const { atMs, act, text } of acts) {
    const waitMs = zeroMs + atMs - monotonicMs()
    if (waitMs > 0) await stage.pause(waitMs)
    if (act.kind !== 'expect') {
      stage.say(`*** ${text}`)
      if (act.kind === 'cut' && isReplicationCut(act) && !stage.moments.has(PARTED_MOMENT)) stage.moments.set(PARTED_MOMENT, monotonicMs())
      if (!stage.moments.has('power loss')) stage.moments.set('power loss', monotonicMs())
      await execute(stage, act, ended.signal)
    } else {
      const unmet = (): readonly string[] => unmetNow(stage, act.expectation, start, lost)
      if (!(await isSteady(stage, text, unmet))) break
    }
    zeroMs = Math.max(zeroMs, monotonicMs() - atMs)
    if (stage.wrongs.length > wasWrong) break
  }
  ended.abort()
  await watching
}

/** Nodes that the run fences, or takes the power from, sooner or later. */
interface Lost {
  readonly fenced: ReadonlySet<string>
  readonly powerless: ReadonlySet<string>
}

interface Start {
  readonly instances: ReadonlyMap<string, string>
  readonly homes: ReadonlyMap<string, string>
  readonly writing: ReadonlySet<string>
}

const homesOf = ({ demo }: Controls): ReadonlyMap<string, string> =>
  new Map([...demo.rooms.observer.progress().values()].map(({ vm, node }) => [vm, node]))

async function isSteady(stage: Controls, text: string, unmet: () => readonly string[]): Promise<boolean> {
  const untilMs = monotonicMs() + PATIENCE_MS
  for (let sinceMs: number | undefined; ; ) {
    const wrong = unmet()
    const nowMs = monotonicMs()
    sinceMs = wrong.length > 0 ? undefined : (sinceMs ?? nowMs)
    if (sinceMs !== undefined && nowMs - sinceMs >= STEADY_MS) {
      stage.say(`as expected: ${text}`)
      return true
    }
    if (nowMs > untilMs) {
      stage.wrong(`waited ${PATIENCE_MS / 1000} s in vain for: ${text}: ${wrong.join('; ')}`)
      return false
    }
    await stage.pause(100)
  }
}

/** Nobody is ever fenced whom no expectation names. */
async function watchFences(stage: Controls, mayBeFenced: ReadonlySet<string>, ended: AbortSignal): Promise<void> {
  const told = new Set<string>()
  while (!ended.aborted) {
    for (const node of stage.fenced())
      if (!mayBeFenced.has(node) && !told.has(node)) {
        told.add(node)
        stage.wrong(`${node} is fenced, which must not happen here`)
      }
    await stage.pause(200)
  }
}

function unmetNow(
  stage: Controls,
  { fenced, run, down, sameCopies, witnessVotes }: NodeExpectation,
  start: Start,
  lost: Lost,
): readonly string[] {
  const wrong: string[] = []
  const seen = [...stage.fenced()].toSorted()
  if (seen.join() !== fenced.toSorted().join()) wrong.push(`fenced are ${seen.join(', ') || 'none'}`)
  const writing = stage.writing()
  const where = homesOf(stage)
  for (const vm of start.writing) {
    const home = start.homes.get(vm) ?? ''
    const isDown = run.length === 0 || down.includes(home)
    if (isDown && writing.has(vm)) wrong.push(`${vm} writes on ${where.get(vm)}`)
    if (isDown || isLeftEnded(stage, vm, home, lost)) continue
    if (!writing.has(vm)) wrong.push(`${vm} does not write`)
    else if (!run.includes(where.get(vm) ?? '')) wrong.push(`${vm} writes on ${where.get(vm)}`)
  }
  const now = stage.instances()
  if (sameCopies) for (const [vm, instance] of start.instances) if (now.get(vm) !== instance) wrong.push(`${vm} is another copy`)
  if (witnessVotes !== undefined) {
    const votes = [...stage.progress.statuses().values()].some(({ witness }) => witness.seat?.isVoting === true)
    if (votes !== witnessVotes) wrong.push(`the witness ${votes ? 'votes' : 'has no vote'}`)
  }
  return wrong
}

/** What nobody starts again: a VM that may run only once, and one that is started by hand when it ended without a fence. */
function isLeftEnded({ demo }: Controls, vm: string, home: string, lost: Lost): boolean {
  const strategy = demo.vms.find(({ name }) => name === vm)?.runStrategy
  if (lost.fenced.has(home)) return strategy === 'Once'
  return lost.powerless.has(home) && (strategy === 'Once' || strategy === 'Manual')
}

/** When the replicas of the two rooms were first parted while both rooms had power. */
export const PARTED_MOMENT = 'parted'

const isReplicationCut = ({ from, to, path }: Extract<Act, { readonly kind: 'cut' }>): boolean =>
  path !== PATHS[0] && ![from, to].some((site) => site === WITNESS_SITE || site === API_SITE)

async function execute(stage: Controls, act: Exclude<Act, { kind: 'expect' }>, ended: AbortSignal): Promise<void> {
  const { network, rooms, cluster } = stage.demo
  const each = (nodes: readonly string[], what: (node: string) => Promise<void> | undefined): Promise<unknown> =>
    Promise.all(nodes.map(async (node) => what(node)))
  switch (act.kind) {
    case 'cut':
      return network.cut(act.from, act.to, {
        direction: act.isOneWay ? 'forward' : 'both',
        ...(act.path === undefined ? {} : { path: act.path }),
      })
    case 'heal':
      return network.heal(act.from, act.to)
    case 'heal-all':
      return network.healAll()
    case 'degrade': {
      const { lossPercent, delayMs, jitterMs, duplicatePercent, path } = act
      return network.setFaults(
        act.from,
        act.to,
        { lossPercent, delayMs, jitterMs, duplicatePercent },
        { direction: 'forward', ...(path === undefined ? {} : { path }) },
      )
    }
    case 'power-off':
    case 'power-on':
      await each(act.nodes, (node) => (act.kind === 'power-off' ? rooms.nodes.get(node)?.powerOff() : rooms.nodes.get(node)?.powerOn()))
      for (const node of act.nodes) cluster.hostChanged(node)
      return undefined
    case 'crash':
    case 'leave':
      await each(act.nodes, (node) => rooms.nodes.get(node)?.endAgent(act.kind === 'crash' ? 'SIGKILL' : 'SIGTERM', act.forMs))
      return undefined
    case 'stop': {
      await each(act.nodes, (node) => rooms.nodes.get(node)?.signalAgent('SIGSTOP'))
      const goOn = setTimeout(() => void each(act.nodes, (node) => rooms.nodes.get(node)?.signalAgent('SIGCONT')), act.forMs)
      ended.addEventListener('abort', () => clearTimeout(goOn))
      return undefined
    }
    case 'witness':
      return act.isUp ? stage.demo.startWitness() : stage.demo.stopWitness()
    case 'api':
      return act.isUp ? network.restore(API_SITE) : network.isolate(API_SITE)
    case 'unfence': {
      const nodes = act.nodes.filter((node) => stage.fenced().has(node))
      if (nodes.length === 0) return undefined
      // As a person does, who looks first.
      await safeToUnfence(stage, nodes)
      return stage.unfence(nodes)
    }
    case 'command': {
      const [asked] = rooms.nodesOf().filter((node) => node.isPowered() && !act.nodes.includes(node.name))
      const [, ...words] = commandLine(act).split(' ')
      return asked === undefined ? undefined : stage.command(asked.name, words)
    }
  }
}
