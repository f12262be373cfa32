/**
 * The failover of a committed fence: look, plan, record, act, again, until every workload has settled (docs/failover.md, "Executing the fence").
 *
 * Two agents may do this at once, or one after the other died at any point: every step is idempotent and carries the uid or version it means.
 */
import { isTransient, KubeError } from '../../kubernetes/errors.ts'
import { sleepUnless } from '../../kubernetes/watch.ts'
import { worstFlapping } from '../brakes/flapping.ts'
import { ensureFence, readPastFences, writeFenceStatus } from '../fence/fence-object.ts'
import { emptyFenceStatus, type Fence, pastFence } from '../fence/fence.ts'
import { mergeStatus } from '../fence/merge.ts'
import type { CommittedFence } from '../fence/committed-fence.ts'
import { type Plan, planFailover } from '../plan/plan.ts'
import type { Snapshot } from '../plan/snapshot.ts'
import { type Executor, createExecutor, type Round } from './execute.ts'
import type { Carrying, FailoverInput, Surroundings } from './executing.ts'
import { isWebhookFailure } from './concurrency.ts'
import { startEventWriter } from './events.ts'
import { SupersededError } from './execute-step.ts'
import { startObservation } from './observation.ts'
import type { FailoverResult } from './progress.ts'
import { refusalReason } from './rbac.ts'
import { createStepEvents } from './step-events.ts'
import { backOff, firstBackoffMs, recover } from './troubles.ts'
import { emptyResult, isChanged, resultOf, staleReason, withStartsRequested } from './written-fence.ts'

export interface Failover {
  readonly done: Promise<FailoverResult>
  /** Something that the plan rests on has changed: proofs, replicas. */
  poke(): void
  stop(): void
}

const recordEveryMs = 1_000
const leasesEveryMs = 5_000

export function startFailover(input: FailoverInput): Failover {
  const { clock, order, config } = input
  const stopping = new AbortController()
  let wake = (): void => {}
  let isPoked = false
  const poke = (): void => {
    isPoked = true
    wake()
  }
  /** Sleeps until poked or stopped, but never less than a breath: a burst of watch events makes one plan, not fifty. */
  const rest = async (ms: number): Promise<void> => {
    await sleepUnless(20, stopping.signal)
    if (!isPoked && ms > 20) {
      const waking = new AbortController()
      wake = () => {
        waking.abort()
      }
      await clock.sleep(ms - 20, AbortSignal.any([waking.signal, stopping.signal]))
      wake = () => {}
    }
    isPoked = false
  }
  const observation = startObservation({
    client: input.client,
    nodes: order.nodes,
    onChange: poke,
    onNotSeen: (path, reason) => {
      input.onProgress({ kind: 'not-seen', path, reason, atMs: clock.nowMs() })
    },
  })
  const events = startEventWriter({
    client: input.client,
    reporter: order.carriedOutBy,
    isoTime: () => clock.isoTime(),
    signal: stopping.signal,
    enabled: config.events && !order.dryRun,
    onDropped: (reason) => {
      input.onProgress({ kind: 'event-dropped', reason, atMs: clock.nowMs() })
    },
  })
  const done = carryOut(input, { observation, events, rest, poke, signal: stopping.signal })
    .catch((error: unknown): FailoverResult => {
      if (error instanceof SupersededError) return { ...emptyResult, outcome: 'superseded', reason: error.message }
      throw error
    })
    .then(
      async (result) => {
        observation.stop()
        if (!stopping.signal.aborted) await events.settled()
        stopping.abort()
        return result
      },
      (error: unknown) => {
        observation.stop()
        stopping.abort()
        throw error
      },
    )
  return {
    done,
    poke,
    stop: () => {
      stopping.abort()
    },
  }
}

async function carryOut(input: FailoverInput, surroundings: Surroundings): Promise<FailoverResult> {
  const { order, clock, onProgress } = input
  const { signal } = surroundings
  const refusal = refusalOf(order)
  if (refusal !== undefined) {
    onProgress({ kind: 'refused', reason: refusal, atMs: clock.nowMs() })
    return { ...emptyResult, outcome: 'refused', reason: refusal }
  }
  const on: Carrying = {
    ...surroundings,
    input,
    tell: createStepEvents({ order, clock, onProgress, events: surroundings.events }),
    call: { signal, timeoutMs: input.config.apiCallMs },
    done: { startAsked: new Set(), released: new Set(), refused: new Map() },
    fence: undefined,
    known: undefined,
    written: emptyFenceStatus,
    writtenAtMs: -Infinity,
    flapping: undefined,
    leasesAtMs: -Infinity,
    sinceMs: new Map(),
    backoffMs: firstBackoffMs,
  }
  const executor = executorOf(on)
  while (!signal.aborted) {
    try {
      const result = await lookPlanAndAct(on, executor)
      if (result !== undefined) return result
    } catch (error) {
      if (signal.aborted) break
      if (!(error instanceof KubeError)) throw error
      const result = await recover(on, error)
      if (result !== undefined) return result
    }
  }
  return resultOf('stopped', on.known)
}

function executorOf({ input, tell, done, signal }: Carrying): Executor {
  const { client, config, clock, order } = input
  return createExecutor({
    client,
    config,
    clock,
    epoch: order.epoch,
    dryRun: order.dryRun,
    signal,
    beforeStep: (step) => input.beforeWrite?.(step.key),
    onDone: (step, outcome) => {
      if (step.kind === 'vm' && step.action.kind === 'start') done.startAsked.add(step.workload.uid)
      if (step.kind === 'release-lease') done.released.add(step.key)
      done.refused.delete(step.key)
      tell.stepDone(step, outcome)
    },
    onFailed: (step, error) => {
      if (!isTransient(error)) done.refused.set(step.key, refusalReason(error))
      tell.stepFailed(step, error, refusalReason(error))
    },
  })
}

/** @returns the result when that was the end */
async function lookPlanAndAct(on: Carrying, executor: Executor): Promise<FailoverResult | undefined> {
  const { input, observation } = on
  const { order, config, clock } = input
  const fence = on.fence ?? (await takeUp(on))
  if ('outcome' in fence) return fence
  if (clock.nowMs() - on.leasesAtMs > leasesEveryMs) {
    await observation.refreshLeases(on.signal)
    on.leasesAtMs = clock.nowMs()
  }
  if (!observation.isFresh()) {
    await on.rest(config.lookEveryMs)
    return undefined
  }
  const { flapping, done } = on
  const recorded = withStartsRequested(
    flapping === undefined ? fence.status : { ...fence.status, flapping },
    done.startAsked,
    done.released,
  )
  const snapshot = observation.snapshot(recorded, fence.createdAt)
  const plan = planNow(on, snapshot)
  const isLeftForLater = await record(on, fence, plan)
  on.tell.planned(plan, fence.status, snapshot.vms)
  if (on.known !== undefined) input.onStatus?.(on.known)
  const round = await executor.run(plan.stages)
  if (plan.status.phase === 'Finished' || order.dryRun) {
    input.onProgress({ kind: 'finished', atMs: clock.nowMs() })
    return resultOf('finished', on.known)
  }
  await restAfter(on, plan, round, isLeftForLater)
  return undefined
}

/** Reads the Fence object, or makes it. @returns the result where that is none of ours to carry out */
async function takeUp(on: Carrying): Promise<Fence | FailoverResult> {
  const { input, observation, known } = on
  const { order, clock } = input
  input.beforeWrite?.('fence')
  const { fence, resumed } = await ensureFence(input.client, order, on.call)
  const stale = staleReason(order, fence)
  if (stale !== undefined) return { ...emptyResult, ...stale }
  const merged = known === undefined ? fence : { ...fence, status: mergeStatus(fence.status, known) }
  on.fence = merged
  on.written = fence.status
  lookForFlapping(on, fence)
  // The API server answers again: what could not be listed before need not wait out its pause.
  if (on.backoffMs > firstBackoffMs && !observation.isFresh()) observation.relist()
  input.onProgress({ kind: 'fence-recorded', fence: order.id, atMs: clock.nowMs(), resumed })
  return merged
}

/** Beside all that is urgent: without it the un-fence is refused all the same. */
function lookForFlapping(on: Carrying, present: Fence): void {
  const { client, order, config } = on.input
  readPastFences(client, on.signal).then(
    (fences) => {
      on.flapping = worstFlapping(order.nodes, pastFence(present), fences, config)
      if (on.flapping !== undefined) on.poke()
    },
    () => {},
  )
}

function planNow(on: Carrying, snapshot: Snapshot): Plan {
  const { order, proofs, dataGate, config, clock } = on.input
  const plan = planFailover({
    order,
    snapshot,
    proofs,
    dataGate,
    config,
    nowMs: clock.nowMs(),
    sinceMs: on.sinceMs,
    isoTime: clock.isoTime(),
    refused: on.done.refused,
  })
  on.sinceMs = new Map([...plan.subjects].map((subject) => [subject, on.sinceMs.get(subject) ?? clock.nowMs()]))
  return plan
}

/**
 * What was done must be known before more is done; what merely came true can wait a moment, or 200 VMs would be 200 writes of all.
 *
 * @returns whether something waits to be written
 */
async function record(on: Carrying, fence: Fence, plan: Plan): Promise<boolean> {
  const { client, clock, beforeWrite } = on.input
  const isPressing = plan.stages.length > 0 || plan.status.phase !== on.written.phase || clock.nowMs() - on.writtenAtMs > recordEveryMs
  const isBehind = isChanged(on.written, plan.status)
  if (isBehind && isPressing) {
    beforeWrite?.('fence status')
    const written = await writeFenceStatus(client, fence, { ...plan.status, updatedAt: clock.isoTime() }, on.call)
    on.fence = written
    on.written = written.status
    on.writtenAtMs = clock.nowMs()
    on.known = written.status
  } else {
    on.fence = { ...fence, status: plan.status }
    on.known = plan.status
  }
  return isBehind && !isPressing
}

async function restAfter(on: Carrying, plan: Plan, round: Round, isLeftForLater: boolean): Promise<void> {
  const { config } = on.input
  // KubeVirt being away is no reason to leave the API server alone.
  const first = round.failed.find(({ step }) => step.kind !== 'vm')
  const isFailing = first !== undefined && isTransient(first.error) && !isWebhookFailure(first.error)
  if (round.isApiAway || round.retryAfterMs !== undefined || isFailing) {
    await backOff(on, first?.error.message ?? 'the API server asks to wait', round.retryAfterMs)
    return
  }
  on.backoffMs = firstBackoffMs
  const mayRestMs = round.failed.length > 0 || isLeftForLater ? recordEveryMs : Math.min(config.lookEveryMs, plan.lookAgainInMs ?? Infinity)
  await on.rest(round.isCut ? 0 : mayRestMs)
}

function refusalOf(order: CommittedFence): string | undefined {
  if (order.nodes.length === 0) return 'the fence names no node'
  if (order.nodes.includes(order.carriedOutBy)) return `${order.carriedOutBy} is itself in the fence: a fenced node carries out nothing`
  return undefined
}
