/**
 * The failover of a committed fence: look, plan, record, act, again, until every workload has settled (docs/failover.md, "Executing the fence").
 *
 * Two agents may do this at once, or one after the other died at any point: every step is idempotent and carries the uid or version it means.
 */
import type { KubeClient } from '../kubernetes/client.ts'
import { isKubeError, isTransient, KubeError } from '../kubernetes/errors.ts'
import { pause } from '../kubernetes/watch.ts'
import { createCarrier, isWebhookFailure, type Round, type StepOutcome, SupersededError } from './carry-out.ts'
import { startEventWriter } from './events.ts'
import {
  emptyFenceStatus,
  ensureFence,
  type Fence,
  type FenceStatus,
  pastFence,
  readFence,
  readPastFences,
  type RecordedFlapping,
  writeFenceStatus,
} from './fence-object.ts'
import { worstFlapping } from './flapping.ts'
import { startObservation } from './observation.ts'
import type { DataGate, FailoverClock, FailoverConfig, FailoverProgress, FailoverResult, FenceOrder, Proofs } from './order.ts'
import { type Plan, planFailover } from './plan.ts'
import { mergeStatus } from './record.ts'
import { refusalReason } from './rbac.ts'
import type { Step } from './steps.ts'
import { createTeller } from './tell.ts'

export interface FailoverInput {
  readonly order: FenceOrder
  readonly client: KubeClient
  readonly proofs: Proofs
  readonly dataGate: DataGate
  readonly config: FailoverConfig
  readonly clock: FailoverClock
  readonly onProgress: FailoverProgress
  /** Called with the status of each plan, whether it is written now or in a moment. */
  readonly onStatus?: (status: FenceStatus) => void
  /** For tests of a carrier that dies: called before each write to the cluster; it may throw, and then nothing more is written. */
  readonly beforeWrite?: (subject: string) => void
}

export interface Failover {
  readonly done: Promise<FailoverResult>
  /** Something that the plan rests on has changed: proofs, replicas. */
  poke(): void
  stop(): void
}

const firstBackoffMs = 250
const longestBackoffMs = 10_000
const recordEveryMs = 1_000

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
    await pause(20, stopping.signal)
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

const emptyResult = { running: [], stopped: [], failed: [], held: [] } as const

interface Surroundings {
  readonly observation: ReturnType<typeof startObservation>
  readonly events: ReturnType<typeof startEventWriter>
  readonly rest: (ms: number) => Promise<void>
  readonly poke: () => void
  readonly signal: AbortSignal
}

async function carryOut(input: FailoverInput, { observation, events, rest, poke, signal }: Surroundings): Promise<FailoverResult> {
  const { order, client, config, clock, onProgress } = input
  const refusal = refusalOf(order)
  if (refusal !== undefined) {
    onProgress({ kind: 'refused', reason: refusal, atMs: clock.nowMs() })
    return { ...emptyResult, outcome: 'refused', reason: refusal }
  }
  const call = { signal, timeoutMs: config.apiCallMs }
  const tell = createTeller({ order, clock, onProgress, events })
  let backoffMs = firstBackoffMs
  const backOff = async (reason: string, askedMs: number | undefined): Promise<void> => {
    const retryInMs = Math.max(askedMs ?? 0, backoffMs)
    onProgress({ kind: 'api-unavailable', reason, retryInMs, atMs: clock.nowMs() })
    backoffMs = Math.min(longestBackoffMs, backoffMs * 2)
    await clock.sleep(retryInMs, signal)
  }
  const write = async <T>(subject: string, call: () => Promise<T>): Promise<T> => {
    input.beforeWrite?.(subject)
    return call()
  }

  let fence: Fence | undefined
  let known: FenceStatus | undefined
  let flapping: RecordedFlapping | undefined
  /** Beside all that is urgent: without it the un-fence is refused all the same. */
  const lookForFlapping = (present: Fence): void => {
    readPastFences(client, signal).then(
      (fences) => {
        flapping = worstFlapping(order.nodes, pastFence(present), fences, config)
        if (flapping !== undefined) poke()
      },
      () => {},
    )
  }
  let leasesAtMs = -Infinity
  let writtenAtMs = -Infinity
  let written: FenceStatus = emptyFenceStatus
  let sinceMs: ReadonlyMap<string, number> = new Map()
  const startAsked = new Set<string>()
  const released = new Set<string>()
  const refused = new Map<string, string>()
  const carrier = createCarrier({
    client,
    config,
    clock,
    epoch: order.epoch,
    dryRun: order.dryRun,
    signal,
    beforeStep: (step) => input.beforeWrite?.(step.key),
    onDone: (step: Step, outcome: StepOutcome) => {
      if (step.kind === 'vm' && step.action.kind === 'start') startAsked.add(step.workload.uid)
      if (step.kind === 'release-lease') released.add(step.key)
      refused.delete(step.key)
      tell.stepDone(step, outcome)
    },
    onFailed: (step, error) => {
      if (!isTransient(error)) refused.set(step.key, refusalReason(error))
      tell.stepFailed(step, error, refusalReason(error))
    },
  })

  while (!signal.aborted) {
    try {
      if (fence === undefined) {
        const ensured = await write('fence', () => ensureFence(client, order, call))
        const stale = staleReason(order, ensured.fence)
        if (stale !== undefined) return { ...emptyResult, ...stale }
        fence = known === undefined ? ensured.fence : { ...ensured.fence, status: mergeStatus(ensured.fence.status, known) }
        written = ensured.fence.status
        lookForFlapping(ensured.fence)
        // The API server answers again: what could not be listed before need not wait out its pause.
        if (backoffMs > firstBackoffMs && !observation.isFresh()) observation.relist()
        onProgress({ kind: 'fence-recorded', fence: order.id, atMs: clock.nowMs(), resumed: ensured.resumed })
      }
      if (clock.nowMs() - leasesAtMs > 5_000) {
        await observation.refreshLeases(signal)
        leasesAtMs = clock.nowMs()
      }
      if (!observation.isFresh()) {
        await rest(config.lookEveryMs)
        continue
      }
      const recorded = withAsked(flapping === undefined ? fence.status : { ...fence.status, flapping }, startAsked, released)
      const snapshot = observation.snapshot(recorded, fence.createdAt)
      const plan: Plan = planFailover({
        order,
        snapshot,
        proofs: input.proofs,
        dataGate: input.dataGate,
        config,
        nowMs: clock.nowMs(),
        sinceMs,
        isoTime: clock.isoTime(),
        refused,
      })
      sinceMs = new Map([...plan.subjects].map((subject) => [subject, sinceMs.get(subject) ?? clock.nowMs()]))
      const before: FenceStatus = fence.status
      // What was done must be known before more is done; what merely came true can wait a moment, or 200 VMs would be 200 writes of all.
      const isPressing = plan.stages.length > 0 || plan.status.phase !== written.phase || clock.nowMs() - writtenAtMs > recordEveryMs
      const isBehind = isChanged(written, plan.status)
      const current: Fence = fence
      if (isBehind && isPressing) {
        fence = await write('fence status', () => writeFenceStatus(client, current, { ...plan.status, updatedAt: clock.isoTime() }, call))
        written = fence.status
        writtenAtMs = clock.nowMs()
      } else fence = { ...current, status: plan.status }
      known = fence.status
      tell.planned(plan, before, snapshot.vms)
      input.onStatus?.(known)
      const round: Round = await carrier.run(plan.stages)
      if (plan.status.phase === 'Finished' || order.dryRun) {
        onProgress({ kind: 'finished', atMs: clock.nowMs() })
        return resultOf('finished', known)
      }
      // KubeVirt being away is no reason to leave the API server alone.
      const first = round.failed.find(({ step }) => step.kind !== 'vm')
      if (
        round.isApiAway ||
        round.retryAfterMs !== undefined ||
        (first !== undefined && isTransient(first.error) && !isWebhookFailure(first.error))
      ) {
        await backOff(first?.error.message ?? 'the API server asks to wait', round.retryAfterMs)
      } else {
        backoffMs = firstBackoffMs
        const mayRestMs =
          round.failed.length > 0 || (isBehind && !isPressing)
            ? recordEveryMs
            : Math.min(config.lookEveryMs, plan.lookAgainInMs ?? Infinity)
        await rest(round.isCut ? 0 : mayRestMs)
      }
    } catch (error) {
      if (signal.aborted) break
      if (!(error instanceof KubeError)) throw error
      if (fence !== undefined && isKubeError(error, 'conflict', 'not-found') && error.path.startsWith('/apis/roomfence.io/')) {
        // Another agent wrote, or the API server lost the fence (set back in time): what we know is written again.
        const mine: FenceStatus = known ?? fence.status
        const theirs = await readFence(client, order.id, call).catch(() => undefined)
        if (theirs !== undefined && theirs.status.phase === 'Unfenced') return resultOf('stopped', theirs.status)
        if (theirs === undefined || isOlder(theirs, fence)) {
          observation.relist()
          startAsked.clear()
          released.clear()
        }
        written = theirs?.status ?? emptyFenceStatus
        fence = theirs === undefined ? undefined : { ...theirs, status: mergeStatus(theirs.status, mine) }
        continue
      }
      if (fence === undefined && isKubeError(error, 'not-found') && error.method === 'POST') {
        await backOff(
          'the API server knows no Fence objects, and nothing is done unrecorded: kubectl apply -f deploy/crds',
          error.retryAfterMs,
        )
        continue
      }
      await backOff(refusalReason(error), error.retryAfterMs)
    }
  }
  return resultOf('stopped', known)
}

/** Versions only ever grow, unless the API server was set back in time; so does the object that was made again under its name. */
const isOlder = (found: Fence, known: Fence): boolean =>
  found.uid !== known.uid || Number(found.resourceVersion) < Number(known.resourceVersion)

function refusalOf(order: FenceOrder): string | undefined {
  if (order.nodes.length === 0) return 'the fence names no node'
  if (order.nodes.includes(order.carriedOutBy)) return `${order.carriedOutBy} is itself in the fence: a fenced node carries out nothing`
  return undefined
}

function staleReason(
  order: FenceOrder,
  fence: Fence,
): { readonly outcome: 'superseded' | 'refused' | 'stopped'; readonly reason: string } | undefined {
  if (fence.spec.clusterId !== order.clusterId) {
    return {
      outcome: 'refused',
      reason: `Fence ${fence.name} belongs to cluster "${fence.spec.clusterId}", and this is "${order.clusterId}"`,
    }
  }
  if (fence.spec.epoch > order.epoch) {
    return {
      outcome: 'superseded',
      reason: `Fence ${fence.name} is of epoch ${String(fence.spec.epoch)}, later than ${String(order.epoch)}`,
    }
  }
  return fence.status.phase === 'Unfenced' ? { outcome: 'stopped', reason: `Fence ${fence.name} has been un-fenced` } : undefined
}

function withAsked(status: FenceStatus, startAsked: ReadonlySet<string>, released: ReadonlySet<string>): FenceStatus {
  if (startAsked.size === 0 && released.size === 0) return status
  return {
    ...status,
    workloads: status.workloads.map((workload) => (startAsked.has(workload.uid) ? { ...workload, startAsked: true } : workload)),
    leases: status.leases.map((lease) =>
      released.has(`lease ${lease.namespace}/${lease.name} ${lease.holder}`) ? { ...lease, released: true } : lease,
    ),
  }
}

/** The order of keys differs between what we made and what the API server gave back. */
function isChanged(before: FenceStatus, after: FenceStatus): boolean {
  const plain = (status: FenceStatus): string => canonical({ ...status, updatedAt: '' })
  return plain(before) !== plain(after)
}

const canonical = (value: unknown): string =>
  JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  )

function resultOf(outcome: FailoverResult['outcome'], status: FenceStatus | undefined): FailoverResult {
  const workloads = status?.workloads ?? []
  const named = (state: string) => workloads.filter((workload) => workload.state === state)
  const name = (workload: { readonly namespace: string; readonly name: string }) => `${workload.namespace}/${workload.name}`
  return {
    outcome,
    reason: status?.message ?? '',
    running: named('running').map(name),
    stopped: named('stopped').map(name),
    failed: named('failed').map((workload) => ({ workload: name(workload), reason: workload.reason })),
    held: [...named('held'), ...named('waiting')].map((workload) => ({ workload: name(workload), reason: workload.reason })),
  }
}
