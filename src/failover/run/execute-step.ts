/** One step of a plan, done on the cluster: the call, its preconditions, and what its answer means. Nothing is decided here. */
import type { KubeClient } from '../../kubernetes/client.ts'
import { isKubeError } from '../../kubernetes/errors.ts'
import { type NodeView, nodeView, paths, type Taint } from '../../kubernetes/resources.ts'
import type { RecordedLease } from '../fence/fence.ts'
import { fencedEpoch, isUnfencedSince, withTaint } from '../fence/taints.ts'
import type { FailoverConfig } from '../plan/config.ts'
import type { Step } from '../plan/steps.ts'
import type { FailoverClock } from './clock.ts'
import { executeVmStep } from './execute-vm-step.ts'
import { type CallLimits, type StepOutcome, unlessReplaced } from './outcome.ts'

/** A node carries the taint of a later fence: this one is out of date and must do nothing more. */
export class SupersededError extends Error {
  constructor(node: string, byEpoch: number) {
    super(`node ${node} is fenced by epoch ${String(byEpoch)} already, which is later than this fence`)
    this.name = 'SupersededError'
  }
}

export interface StepCalls {
  readonly client: KubeClient
  readonly config: FailoverConfig
  readonly clock: FailoverClock
  /** Of the fence that is carried out. */
  readonly epoch: number
  readonly signal: AbortSignal
}

/** Where virt-api hangs, its steps must not hold up what does not need it. */
const kubevirtTimeoutMs = 5_000

export async function executeStep(step: Step, { client, epoch, signal, config, clock }: StepCalls): Promise<StepOutcome> {
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
      return executeVmStep(client, step, clock.isoTime(), { signal, timeoutMs: Math.min(config.apiCallMs, kubevirtTimeoutMs) })
    default:
      return step satisfies never
  }
}

/**
 * As podgc and eviction mark what they end: a Job whose podFailurePolicy ignores disruptions does not count the pod then, or it would fail for good with a
 * backoffLimit of 0.
 */
function disrupted(lastTransitionTime: string): object {
  const message = 'its node was fenced by roomfence and has stopped'
  const condition = { type: 'DisruptionTarget', status: 'True', reason: 'DeletionByRoomfence', message, lastTransitionTime }
  return { phase: 'Failed', reason: 'NodeFenced', message, conditions: [condition] }
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

/** Empties the holder if it is still the dead one. `replaced`: another leads already. */
async function releaseLease(client: KubeClient, lease: RecordedLease, signal: AbortSignal): Promise<StepOutcome> {
  try {
    await client.patchJson(
      paths.lease(lease.namespace, lease.name),
      [
        { op: 'test', path: '/spec/holderIdentity', value: lease.holder },
        { op: 'replace', path: '/spec/holderIdentity', value: '' },
      ],
      { signal },
    )
    return 'done'
  } catch (error) {
    if (isKubeError(error, 'not-found')) return 'gone'
    // A failed test answers 422: someone else leads.
    if (isKubeError(error, 'invalid', 'conflict')) return 'replaced'
    throw error
  }
}
