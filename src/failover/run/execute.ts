/** Carries out the steps of a plan, round by round: bounded concurrency that adapts to the API server, nothing decided. */
import { isKubeError, isTransient, KubeError } from '../../kubernetes/errors.ts'
import type { Stage, Step } from '../plan/steps.ts'
import { type Concurrency, createConcurrency, isWebhookFailure } from './concurrency.ts'
import { executeStep, type StepCalls } from './execute-step.ts'
import type { StepOutcome } from './outcome.ts'

export interface ExecutorOptions extends StepCalls {
  readonly dryRun: boolean
  /** Called before each step; what it throws ends the round at once. */
  readonly beforeStep?: (step: Step) => void
  readonly onDone: (step: Step, outcome: StepOutcome) => void
  readonly onFailed: (step: Step, error: KubeError) => void
}

export interface Round {
  readonly failed: readonly { readonly step: Step; readonly error: KubeError }[]
  /** Clearing took so long that pods were left for the next plan. */
  readonly isCut: boolean
  /** The API server does not answer: what was left of the plan was not tried. */
  readonly isApiAway: boolean
  readonly retryAfterMs: number | undefined
}

export interface Executor {
  run(stages: readonly Stage[]): Promise<Round>
}

const failuresUntilAway = 3
/**
 * Clearing hundreds of pods on a busy API server takes minutes: it is done in turns, so that the record and the VMs' next steps keep up with it. Where
 * looking and recording between two turns take long, too, the turns are longer in proportion.
 */
const shortestTurnMs = 2_000
const longestTurnMs = 15_000
const turnsPerBreak = 3
/** While the watch has not yet shown what a step did, the next plan names it again. */
const settleMs = 2_000

/** What is remembered from round to round. */
interface Memory {
  /** When the turn ended that left pods for the next one. */
  cutAtMs: number | undefined
  readonly doneAtMs: Map<string, number>
  /** When a step failed last. */
  readonly failedAtMs: Map<string, number>
}

/** A round under way. */
interface OpenRound {
  readonly failed: { readonly step: Step; readonly error: KubeError }[]
  /** Of steps that failed, and of those that needed them. */
  readonly failedKeys: Set<string>
  transientInARow: number
  kubevirtInARow: number
  isCut: boolean
  isApiAway: boolean
  retryAfterMs: number | undefined
}

/** What the functions below work on. */
interface Carrying {
  readonly options: ExecutorOptions
  readonly concurrency: Concurrency
  readonly memory: Memory
}

export function createExecutor(
  options: ExecutorOptions,
  concurrency: Concurrency = createConcurrency(options.config.maxConcurrency),
): Executor {
  const memory: Memory = { cutAtMs: undefined, doneAtMs: new Map(), failedAtMs: new Map() }
  return {
    run: async (stages) => {
      const round: OpenRound = {
        failed: [],
        failedKeys: new Set(),
        transientInARow: 0,
        kubevirtInARow: 0,
        isCut: false,
        isApiAway: false,
        retryAfterMs: undefined,
      }
      await runStages(stages, round, { options, concurrency, memory })
      remember(memory, stages, round, options.clock.nowMs())
      return round
    },
  }
}

async function runStages(stages: readonly Stage[], round: OpenRound, carrying: Carrying): Promise<void> {
  const { options, concurrency, memory } = carrying
  const { clock, signal } = options
  const turnMs = turnMsAfter(memory.cutAtMs === undefined ? 0 : clock.nowMs() - memory.cutAtMs)
  const isOver = (): boolean => signal.aborted || round.isApiAway || round.retryAfterMs !== undefined
  let clearingSinceMs = Infinity
  for (const stage of failedLast(stages, memory.failedAtMs)) {
    const isClearing = stage.steps.some(({ kind }) => kind === 'delete-pod')
    if (isClearing) clearingSinceMs = Math.min(clearingSinceMs, clock.nowMs())
    const isLate = (): boolean => isClearing && clock.nowMs() - clearingSinceMs > turnMs
    const queue = [...stage.steps]
    const isOneByOne = isChained(stage)
    await drain(
      queue,
      () => isOver() || isLate(),
      () => (isOneByOne ? 1 : concurrency.now()),
      async (step) => tryStep(step, round, carrying),
    )
    round.isCut ||= queue.length > 0 && !isOver()
    if (isOver()) return
    if (stage.barrier && stage.steps.some((step) => round.failedKeys.has(step.key))) return
  }
}

const turnMsAfter = (cutForMs: number): number => Math.min(longestTurnMs, Math.max(shortestTurnMs, turnsPerBreak * cutForMs))

/** A step that needs another of its own stage comes right after it: then one by one. */
const isChained = ({ steps }: Stage): boolean =>
  steps.some((step) => step.needs !== undefined && steps.some((other) => other.key === step.needs))

async function tryStep(step: Step, round: OpenRound, { options, concurrency, memory }: Carrying): Promise<void> {
  const { clock } = options
  if (step.needs !== undefined && round.failedKeys.has(step.needs)) {
    round.failedKeys.add(step.key)
    return
  }
  // KubeVirt does not answer: the next round asks again, and the rest of this one is not kept waiting.
  if (step.kind === 'vm' && round.kubevirtInARow >= failuresUntilAway) return
  const startedMs = clock.nowMs()
  if (startedMs - (memory.doneAtMs.get(step.key) ?? -Infinity) < settleMs) return
  options.beforeStep?.(step)
  try {
    const outcome = options.dryRun ? 'dry-run' : await executeStep(step, options)
    concurrency.adapt(undefined, clock.nowMs() - startedMs)
    if (step.kind === 'vm') round.kubevirtInARow = 0
    else round.transientInARow = 0
    memory.failedAtMs.delete(step.key)
    if (outcome === 'replaced' && isConditionOfOthers(step)) round.failedKeys.add(step.key)
    else memory.doneAtMs.set(step.key, clock.nowMs())
    options.onDone(step, outcome)
  } catch (error) {
    if (!(error instanceof KubeError)) throw error
    if (error.code === 'aborted') return
    const isOfKubeVirt = isFailureOfKubeVirt(step, error)
    if (!isOfKubeVirt) concurrency.adapt(error, clock.nowMs() - startedMs)
    round.failedKeys.add(step.key)
    round.failed.push({ step, error })
    options.onFailed(step, error)
    if (error.retryAfterMs !== undefined && !isOfKubeVirt) round.retryAfterMs = Math.max(round.retryAfterMs ?? 0, error.retryAfterMs)
    if (isOfKubeVirt) round.kubevirtInARow += 1
    if (step.kind === 'vm' || !isTransient(error) || isWebhookFailure(error) || ++round.transientInARow < failuresUntilAway) return
    round.transientInARow = 0
    round.isApiAway ||= !(await answers(options))
  }
}

/** virt-api being away says nothing of the API server, and neither does a webhook that does not answer. */
const isFailureOfKubeVirt = (step: Step, error: KubeError): boolean =>
  step.kind === 'vm' && isTransient(error) && error.code !== 'too-many-requests'

/** Of steps that are planned no more nothing is kept, or it would grow for as long as the fence lasts. */
function remember(memory: Memory, stages: readonly Stage[], round: OpenRound, nowMs: number): void {
  const planned = new Set(stages.flatMap(({ steps }) => steps.map(({ key }) => key)))
  for (const key of memory.failedAtMs.keys()) if (!planned.has(key)) memory.failedAtMs.delete(key)
  for (const key of round.failedKeys) memory.failedAtMs.set(key, nowMs)
  for (const [key, atMs] of memory.doneAtMs) if (nowMs - atMs > settleMs) memory.doneAtMs.delete(key)
  memory.cutAtMs = round.isCut ? nowMs : undefined
}

/**
 * What comes after it rests on its having been done, so `replaced` is no success: the taint is not on a node that was un-fenced since, and a pod that
 * somebody wrote in between is not immune. The next plan looks at what is there.
 */
const isConditionOfOthers = ({ kind }: Step): boolean => kind === 'taint' || kind === 'tolerate'

/**
 * The stages with what failed before taken out, which comes after everything else, the longest ago first: twenty VMs whose deletion a webhook refuses
 * must not keep all others from their turn for ever. Of pods alone: a taint must be there before what comes after it.
 */
function failedLast(stages: readonly Stage[], failedAtMs: ReadonlyMap<string, number>): readonly Stage[] {
  const isDeferred = (step: Step): boolean => (step.kind === 'delete-pod' || step.kind === 'fail-pod') && failedAtMs.has(step.key)
  const again = stages
    .flatMap((stage) => stage.steps.filter(isDeferred))
    .sort((a, b) => (failedAtMs.get(a.key) ?? 0) - (failedAtMs.get(b.key) ?? 0))
  if (again.length === 0) return stages
  return [
    ...stages.map((stage) => ({ ...stage, steps: stage.steps.filter((step) => !isDeferred(step)) })),
    { name: 'what failed before', barrier: false, steps: again },
  ]
}

/** Whether the API server itself is there: several calls in a row without an answer may be about one thing that all of them concern. */
async function answers({ client, signal }: StepCalls): Promise<boolean> {
  try {
    await client.probe({ signal })
    return true
  } catch (error) {
    return isKubeError(error, 'forbidden', 'unauthorized')
  }
}

/** Takes from the queue with as many calls under way as there is room for at each moment. */
async function drain(queue: Step[], isOver: () => boolean, room: () => number, one: (step: Step) => Promise<void>): Promise<void> {
  const running = new Set<Promise<void>>()
  try {
    for (;;) {
      while (!isOver() && running.size < room()) {
        const step = queue.shift()
        if (step === undefined) break
        const call = one(step).finally(() => running.delete(call))
        running.add(call)
      }
      if (running.size === 0) return
      await Promise.race(running)
    }
  } finally {
    await Promise.allSettled(running)
  }
}
