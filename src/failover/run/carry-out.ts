/** Carries out the steps of a plan: bounded concurrency that adapts to the API server, preconditions understood, nothing decided. */
import type { KubeClient } from '../../kubernetes/client.ts'
import { isKubeError, isTransient, KubeError } from '../../kubernetes/errors.ts'
import { type NodeView, nodeView, paths, type Taint } from '../../kubernetes/resources.ts'
import { touchAnnotation } from '../fence/names.ts'
import { fencedEpoch, isUnfencedSince, withTaint } from '../fence/taints.ts'
import type { FailoverConfig } from '../plan/config.ts'
import type { Stage, Step } from '../plan/steps.ts'
import { touchText } from '../plan/vm.ts'
import type { FailoverClock } from './clock.ts'
import { releaseLease } from './release-lease.ts'

/** `replaced`: another object has the name by now; of a taint: its node was un-fenced since; of others: somebody wrote the object in between. */
export type StepOutcome = 'done' | 'gone' | 'replaced' | 'dry-run'

/** A node carries the taint of a later fence: this one is out of date and must do nothing more. */
export class SupersededError extends Error {
  readonly code = 'superseded'
  readonly byEpoch: number
  constructor(node: string, byEpoch: number) {
    super(`node ${node} is fenced by epoch ${String(byEpoch)} already, which is later than this fence`)
    this.name = 'SupersededError'
    this.byEpoch = byEpoch
  }
}

export interface CarryOutOptions {
  readonly client: KubeClient
  readonly config: FailoverConfig
  readonly clock: FailoverClock
  readonly epoch: number
  readonly dryRun: boolean
  readonly signal: AbortSignal
  /** Called before each step; what it throws ends the round at once. */
  readonly beforeStep?: (step: Step) => void
  readonly onDone: (step: Step, outcome: StepOutcome) => void
  readonly onFailed: (step: Step, error: KubeError) => void
}

export interface Round {
  readonly done: readonly Step[]
  readonly failed: readonly { readonly step: Step; readonly error: KubeError }[]
  /** Clearing took so long that pods were left for the next plan. */
  readonly isCut: boolean
  /** The API server does not answer: what was left of the plan was not tried. */
  readonly isApiAway: boolean
  readonly retryAfterMs: number | undefined
}

export interface Carrier {
  run(stages: readonly Stage[]): Promise<Round>
  /** Calls under way at once at most, now. */
  concurrency(): number
}

const failuresUntilAway = 3
const slowMs = 1_000
/** Deletes are little beside what controllers make of them: slowness alone brings no fewer at once, or an overloaded API server would get one a second. */
const leastWhenSlow = 8
/**
 * Clearing hundreds of pods on a busy API server takes minutes: it is done in turns, so that the record and the VMs' next steps keep up with it. Where
 * looking and recording between two turns take long, too, the turns are longer in proportion.
 */
const shortestTurnMs = 2_000
const longestTurnMs = 15_000
const turnsPerPause = 3
/** While the watch has not yet shown what a step did, the next plan names it again. */
const settleMs = 2_000
/** All steps of VMs pass virt-api, itself or as a webhook. Where it hangs, they must not hold up what does not need it. */
const kubevirtTimeoutMs = 5_000

export function createCarrier(options: CarryOutOptions): Carrier {
  const { config, clock, signal } = options
  const least = Math.min(leastWhenSlow, config.maxConcurrency)
  let limit = least
  /** When the turn ended that left pods for the next one. */
  let cutAtMs: number | undefined
  const doneAtMs = new Map<string, number>()
  /** When a step failed last. */
  const failedAtMs = new Map<string, number>()

  const adapt = (error: unknown, durationMs: number): void => {
    if (isKubeError(error, 'too-many-requests')) limit = Math.max(1, Math.floor(limit / 2))
    // A webhook that is away is slow for what it looks at, and says nothing of the API server.
    else if (isWebhookFailure(error)) return
    else if (error !== undefined) limit = Math.max(1, limit - 1)
    else if (durationMs > slowMs) limit = Math.max(Math.min(least, limit), limit - 1)
    else limit = Math.min(config.maxConcurrency, limit + 0.25)
  }

  const run = async (stages: readonly Stage[]): Promise<Round> => {
    const done: Step[] = []
    const failed: { step: Step; error: KubeError }[] = []
    const failedKeys = new Set<string>()
    let transientInARow = 0
    let kubevirtInARow = 0
    let isApiAway = false
    let retryAfterMs: number | undefined
    const pausedMs = cutAtMs === undefined ? 0 : clock.nowMs() - cutAtMs
    const turnMs = Math.min(longestTurnMs, Math.max(shortestTurnMs, turnsPerPause * pausedMs))
    let clearingSinceMs = Infinity
    let isCut = false

    const one = async (step: Step): Promise<void> => {
      if (step.needs !== undefined && failedKeys.has(step.needs)) {
        failedKeys.add(step.key)
        return
      }
      // KubeVirt does not answer: the next round asks again, and the rest of this one is not kept waiting.
      if (step.kind === 'vm' && kubevirtInARow >= failuresUntilAway) return
      const startedMs = clock.nowMs()
      if (startedMs - (doneAtMs.get(step.key) ?? -Infinity) < settleMs) return
      options.beforeStep?.(step)
      try {
        const outcome = options.dryRun ? 'dry-run' : await carryOutStep(step, options)
        adapt(undefined, clock.nowMs() - startedMs)
        if (step.kind === 'vm') kubevirtInARow = 0
        else transientInARow = 0
        failedAtMs.delete(step.key)
        if (outcome === 'replaced' && isConditionOfOthers(step)) failedKeys.add(step.key)
        else {
          doneAtMs.set(step.key, clock.nowMs())
          done.push(step)
        }
        options.onDone(step, outcome)
      } catch (error) {
        if (!(error instanceof KubeError)) throw error
        if (error.code === 'aborted') return
        const isOfKubeVirt = step.kind === 'vm' && isTransient(error) && error.code !== 'too-many-requests'
        if (!isOfKubeVirt) adapt(error, clock.nowMs() - startedMs)
        failedKeys.add(step.key)
        failed.push({ step, error })
        options.onFailed(step, error)
        if (error.retryAfterMs !== undefined && !isOfKubeVirt) retryAfterMs = Math.max(retryAfterMs ?? 0, error.retryAfterMs)
        // virt-api being away says nothing of the API server, and neither does a webhook that does not answer.
        if (isOfKubeVirt) kubevirtInARow += 1
        if (step.kind === 'vm' || !isTransient(error) || isWebhookFailure(error) || ++transientInARow < failuresUntilAway) return
        transientInARow = 0
        isApiAway ||= !(await answers(options))
      }
    }

    for (const stage of failedLast(stages, failedAtMs)) {
      const isClearing = stage.steps.some(({ kind }) => kind === 'delete-pod')
      if (isClearing) clearingSinceMs = Math.min(clearingSinceMs, clock.nowMs())
      const isLate = (): boolean => isClearing && clock.nowMs() - clearingSinceMs > turnMs
      const queue = [...stage.steps]
      const isOver = (): boolean => signal.aborted || isApiAway || retryAfterMs !== undefined
      // A step that needs another of its own stage comes right after it: then one by one.
      const isChained = stage.steps.some((step) => step.needs !== undefined && stage.steps.some((other) => other.key === step.needs))
      await drain(
        queue,
        () => isOver() || isLate(),
        () => (isChained ? 1 : limit),
        one,
      )
      isCut ||= queue.length > 0 && !isOver()
      if (isOver()) break
      if (stage.barrier && stage.steps.some((step) => failedKeys.has(step.key))) break
    }
    const planned = new Set(stages.flatMap(({ steps }) => steps.map(({ key }) => key)))
    for (const key of failedAtMs.keys()) if (!planned.has(key)) failedAtMs.delete(key)
    for (const key of failedKeys) failedAtMs.set(key, clock.nowMs())
    for (const [key, atMs] of doneAtMs) if (clock.nowMs() - atMs > settleMs) doneAtMs.delete(key)
    cutAtMs = isCut ? clock.nowMs() : undefined
    return { done, failed, isCut, isApiAway, retryAfterMs }
  }

  return { run, concurrency: () => Math.floor(limit) }
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

/** k8s.io/apiserver answers 500 with this text when a webhook with failurePolicy Fail gives no answer. */
export const isWebhookFailure = (error: unknown): boolean =>
  isKubeError(error, 'server-error', 'timeout') && /failed calling webhook/.test(error.message)

/** Whether the API server itself is there: several calls in a row without an answer may be about one thing that all of them concern. */
async function answers({ client, signal }: CarryOutOptions): Promise<boolean> {
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
      while (!isOver() && running.size < Math.max(1, Math.floor(room()))) {
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

async function carryOutStep(step: Step, { client, epoch, signal, config, clock }: CarryOutOptions): Promise<StepOutcome> {
  const call = { signal, timeoutMs: config.apiCallMs }
  switch (step.kind) {
    case 'taint':
      return taintNode(client, step.node, step.taint, epoch, call)
    case 'release-lease':
      return releaseLease(client, step.lease, signal)
    case 'tolerate':
      return unlessReplaced(
        client.patchMerge(
          paths.pod(step.pod.namespace, step.pod.name),
          { metadata: { uid: step.pod.uid, resourceVersion: step.pod.resourceVersion }, spec: { tolerations: step.tolerations } },
          call,
        ),
      )
    case 'fail-pod':
      // Strategic, so that the condition comes beside those that are there.
      return unlessReplaced(
        client.patchStrategic(
          `${paths.pod(step.pod.namespace, step.pod.name)}/status`,
          { metadata: { uid: step.pod.uid }, status: disrupted(clock.isoTime()) },
          call,
        ),
      )
    case 'delete-pod':
      return unlessReplaced(
        client.delete(paths.pod(step.pod.namespace, step.pod.name), { uid: step.pod.uid, gracePeriodSeconds: 0, ...call }),
      )
    case 'vm':
      return carryOutVmStep(client, step, clock.isoTime(), { signal, timeoutMs: Math.min(config.apiCallMs, kubevirtTimeoutMs) })
    default:
      return step satisfies never
  }
}

/** virt-api's answer to a start of a VM that somebody has asked to start already. */
export const isStartUnderWay = (error: unknown): boolean => isKubeError(error, 'server-error') && error.message.includes('already underway')

/**
 * As podgc and eviction mark what they end: a Job whose podFailurePolicy ignores disruptions does not count the pod then, or it would fail for good with a
 * backoffLimit of 0.
 */
function disrupted(lastTransitionTime: string): object {
  const message = 'its node was fenced by roomfence and has stopped'
  const condition = { type: 'DisruptionTarget', status: 'True', reason: 'DeletionByRoomfence', message, lastTransitionTime }
  return { phase: 'Failed', reason: 'NodeFenced', message, conditions: [condition] }
}

type CallLimits = { readonly signal: AbortSignal; readonly timeoutMs: number }

/** 404: it is gone, which is what was wanted. 409 to a uid precondition: another object has its name, and that one is not ours to touch. */
async function unlessReplaced(call: Promise<unknown>): Promise<StepOutcome> {
  try {
    await call
    return 'done'
  } catch (error) {
    if (isKubeError(error, 'not-found')) return 'gone'
    if (isKubeError(error, 'conflict')) return 'replaced'
    throw error
  }
}

const taintAttempts = 10

/** Adds the taint to the list as it is now; others write it, too, all the more during an outage. */
async function taintNode(client: KubeClient, name: string, taint: Taint, epoch: number, call: CallLimits): Promise<StepOutcome> {
  for (let attempt = 1; ; attempt++) {
    let node: NodeView
    try {
      node = nodeView(await client.get(paths.node(name), call))
    } catch (error) {
      if (isKubeError(error, 'not-found')) return 'gone'
      throw error
    }
    const fencedBy = fencedEpoch(node.taints)
    if (fencedBy !== undefined && fencedBy > epoch) throw new SupersededError(name, fencedBy)
    // The version in the patch makes this one step with the reading: an un-fence in between answers 409.
    if (isUnfencedSince(node.annotations, epoch)) return 'replaced'
    const taints = withTaint(node.taints, taint)
    if (taints === node.taints) return 'done'
    try {
      await client.patchMerge(paths.node(name), { metadata: { resourceVersion: node.resourceVersion }, spec: { taints } }, call)
      return 'done'
    } catch (error) {
      if (!isKubeError(error, 'conflict') || attempt >= taintAttempts) throw error
    }
  }
}

async function carryOutVmStep(
  client: KubeClient,
  step: Step & { readonly kind: 'vm' },
  isoTime: string,
  call: CallLimits,
): Promise<StepOutcome> {
  const { namespace, name } = step.workload
  switch (step.action.kind) {
    case 'start':
      try {
        await client.putSubresource(paths.startVirtualMachine(namespace, name), {}, call)
        return 'done'
      } catch (error) {
        if (isStartUnderWay(error)) return 'done'
        if (isKubeError(error, 'conflict') && error.message.includes('already running')) return 'done'
        throw error
      }
    case 'delete-vmi':
      return unlessReplaced(client.delete(paths.virtualMachineInstance(namespace, name), { uid: step.action.uid, ...call }))
    case 'touch-vmi': {
      const path = paths.virtualMachineInstance(namespace, name)
      const text = touchText(isoTime, step.action.count)
      const body = { metadata: { uid: step.workload.uid, annotations: { [touchAnnotation]: text } } }
      // The dry run fails for as long as KubeVirt's webhook is away; nothing is changed then.
      return unlessReplaced(client.patchMerge(path, body, { ...call, dryRun: true }).then(() => client.patchMerge(path, body, call)))
    }
    case 'skip-backoff':
      try {
        await client.patchJson(`${paths.virtualMachine(namespace, name)}/status`, [{ op: 'remove', path: '/status/startFailure' }], call)
        return 'done'
      } catch (error) {
        if (isKubeError(error, 'invalid', 'not-found')) return 'gone'
        throw error
      }
    default:
      return step.action satisfies never
  }
}
