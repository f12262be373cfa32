/** Turns plans and steps into progress and Kubernetes Events: each thing told once, when it changes. */
import type { KubeError } from '../../kubernetes/errors.ts'
import { flappingNote } from '../brakes/flapping.ts'
import type { FenceStatus, RecordedWorkload } from '../fence/fence.ts'
import { fencedTaintKey, fullName } from '../fence/names.ts'
import type { CommittedFence } from '../fence/committed-fence.ts'
import { attachmentNote } from '../plan/attachments.ts'
import type { Plan } from '../plan/plan.ts'
import type { PodVerdict } from '../plan/pod-verdict.ts'
import type { Snapshot } from '../plan/snapshot.ts'
import type { Step } from '../plan/steps.ts'
import type { FailoverClock } from './clock.ts'
import type { EventSubject, EventWriter } from './events.ts'
import type { StepOutcome } from './outcome.ts'
import type { FailoverProgress } from './progress.ts'

export interface StepEvents {
  planned(plan: Plan, before: FenceStatus, vms: Snapshot['vms']): void
  stepDone(step: Step, outcome: StepOutcome): void
  stepFailed(step: Step, error: KubeError, reason: string): void
}

interface StepEventsOptions {
  readonly order: CommittedFence
  readonly clock: FailoverClock
  readonly onProgress: FailoverProgress
  readonly events: EventWriter
}

/** What the functions below tell with. */
interface StepEventsContext extends StepEventsOptions {
  /** Whether nothing was told of these parts before. */
  readonly isNew: (...parts: readonly string[]) => boolean
}

export function createStepEvents(options: StepEventsOptions): StepEvents {
  const told = new Set<string>()
  /** Numbers count down in a reason without its being another one. */
  const isNew = (...parts: readonly string[]): boolean => {
    const key = parts.join('|').replace(/\d+/g, '#')
    if (told.has(key)) return false
    told.add(key)
    return true
  }
  const telling: StepEventsContext = { ...options, isNew }
  return {
    planned: (plan, before, vms) => {
      emitWorkloads(plan.status, before, vms, telling)
      emitVerdicts(plan.verdicts, telling)
      emitUnplaced(plan, telling)
      emitFlapping(plan.status, telling)
      emitAttachments(plan.status, telling)
    },
    stepDone: (step, outcome) => {
      emitDone(step, outcome, telling)
    },
    stepFailed: (step, error, reason) => {
      if (!isNew('failed', step.key, reason)) return
      const atMs = options.clock.nowMs()
      options.onProgress({ kind: 'step-failed', step: step.kind, subject: subjectOf(step), code: error.code, reason, atMs })
    },
  }
}

const nodeSubject = (node: string, uid: string): EventSubject => ({ apiVersion: 'v1', kind: 'Node', name: node, uid })

function workloadSubject({ kind, namespace, name, uid }: RecordedWorkload, vms: Snapshot['vms']): EventSubject {
  if (kind === 'Pod') return { apiVersion: 'v1', kind, namespace, name, uid }
  const ownUid = kind === 'VirtualMachine' ? (vms.get(`${namespace}/${name}`)?.uid ?? '') : uid
  return { apiVersion: 'kubevirt.io/v1', kind, namespace, name, uid: ownUid }
}

function emitWorkloads(status: FenceStatus, before: FenceStatus, vms: Snapshot['vms'], telling: StepEventsContext): void {
  const statesBefore = new Map(before.workloads.map((workload) => [workload.uid, workload.state]))
  for (const workload of status.workloads) {
    if (statesBefore.get(workload.uid) !== workload.state && telling.isNew('state', workload.uid, workload.state, workload.reason))
      emitWorkload(workload, workloadSubject(workload, vms), telling)
  }
}

function emitWorkload(workload: RecordedWorkload, subject: EventSubject, { order, clock, onProgress, events }: StepEventsContext): void {
  const atMs = clock.nowMs()
  const name = fullName(workload)
  const { state, reason, newNode, replacedBy } = workload
  switch (state) {
    case 'held':
      onProgress({ kind: 'blocked', workload: name, reason, atMs })
      events.write({ subject, type: 'Warning', reason: 'FenceBlocked', action: 'Block', note: `blocked, not started elsewhere: ${reason}` })
      return
    case 'skipped':
      onProgress({ kind: 'skipped', workload: name, reason, atMs })
      return
    case 'running': {
      onProgress({ kind: 'vm-running', vm: name, node: newNode, atMs })
      const what = replacedBy === undefined ? 'runs' : `${replacedBy} runs in its place`
      const note = `${what} on ${newNode} after fence ${order.id} of node ${workload.node}`
      events.write({ subject, type: 'Normal', reason: 'FenceRecovered', action: 'Recover', note })
      return
    }
    case 'stopped':
    case 'failed':
      onProgress({ kind: 'vm-settled', vm: name, state, reason, atMs })
      if (state === 'failed') events.write({ subject, type: 'Warning', reason: 'FenceNotRecovered', action: 'Recover', note: reason })
      return
    case 'waiting':
    case 'ordered':
    case 'cleared':
      return
    default:
      state satisfies never
  }
}

function emitVerdicts(verdicts: readonly PodVerdict[], { clock, onProgress, isNew }: StepEventsContext): void {
  const atMs = clock.nowMs()
  for (const { kind, pod, reason, readyInMs } of verdicts) {
    if (kind === 'skipped' && isNew('skipped', pod.uid, reason)) onProgress({ kind: 'skipped', workload: fullName(pod), reason, atMs })
    if (kind === 'stuck' && isNew('stuck', pod.uid, reason)) onProgress({ kind: 'blocked', workload: fullName(pod), reason, atMs })
    if (kind === 'waiting' && isNew('waiting', pod.uid, reason)) {
      const ready = readyInMs === undefined ? {} : { readyInMs }
      onProgress({ kind: 'waiting-for-proof', node: pod.nodeName, workload: fullName(pod), reason, ...ready, atMs })
    }
  }
}

function emitUnplaced(plan: Plan, { order, clock, onProgress, events, isNew }: StepEventsContext): void {
  const atMs = clock.nowMs()
  for (const { workload, reason } of plan.unplaced)
    if (isNew('unplaced', workload, reason)) onProgress({ kind: 'vm-unplaced', vm: workload, reason, atMs })
  for (const { kind, namespace, name, pod, uid, reason } of plan.status.unplaced) {
    if (!isNew('unplaced', uid, reason)) continue
    if (kind === 'Pod') onProgress({ kind: 'pod-unplaced', pod: `${namespace}/${name}`, reason, atMs })
    const subject: EventSubject = { apiVersion: 'v1', kind: 'Pod', namespace, name: pod, uid }
    events.write({ subject, type: 'Warning', reason: 'FenceUnplaced', action: 'Place', note: `after fence ${order.id}: ${reason}` })
  }
}

function emitFlapping({ flapping, nodes }: FenceStatus, { order, clock, onProgress, events, isNew }: StepEventsContext): void {
  if (flapping === undefined || !isNew('flapping')) return
  onProgress({ kind: 'flapping', ...flapping, atMs: clock.nowMs() })
  const note = `fence ${order.id}: ${flappingNote(flapping)}`
  for (const { name, uid } of nodes)
    events.write({ subject: nodeSubject(name, uid), type: 'Warning', reason: 'Flapping', action: 'Fence', note })
}

function emitAttachments({ volumeAttachments, nodes }: FenceStatus, { clock, onProgress, events, isNew }: StepEventsContext): void {
  const atMs = clock.nowMs()
  for (const attachment of volumeAttachments) {
    const { name, node } = attachment
    if (!attachment.isLate || !isNew('attachment', name)) continue
    const note = attachmentNote(attachment)
    onProgress({ kind: 'volume-attachment-stuck', volumeAttachment: name, node, reason: note, atMs })
    const uid = nodes.find((recorded) => recorded.name === node)?.uid ?? ''
    events.write({ subject: nodeSubject(node, uid), type: 'Warning', reason: 'VolumeAttachmentStuck', action: 'Detach', note })
  }
}

function emitDone(step: Step, outcome: StepOutcome, telling: StepEventsContext): void {
  const { onProgress } = telling
  const atMs = telling.clock.nowMs()
  onProgress({ kind: 'step-done', step: step.kind, subject: subjectOf(step), outcome, atMs })
  if (outcome === 'dry-run') return
  if (step.kind === 'taint' && outcome === 'done') emitTaint(step, telling)
  if (step.kind === 'release-lease' && outcome === 'done')
    onProgress({ kind: 'lease-released', lease: fullName(step.lease), holder: step.lease.holder, atMs })
  if (step.kind === 'delete-pod' && outcome !== 'replaced') {
    onProgress({ kind: 'pod-cleared', pod: fullName(step.pod), node: step.pod.nodeName, proof: step.proof, atMs })
    if (step.vm !== undefined && step.proof !== 'none') onProgress({ kind: 'vm-ordered', vm: step.vm, proof: step.proof, atMs })
  }
}

function emitTaint(step: Step & { readonly kind: 'taint' }, { order, clock, onProgress, events }: StepEventsContext): void {
  const taint = step.taint.key === fencedTaintKey ? 'fenced' : 'out-of-service'
  onProgress({ kind: 'node-tainted', node: step.node, taint, atMs: clock.nowMs() })
  events.write({
    subject: nodeSubject(step.node, step.node),
    type: 'Warning',
    reason: taint === 'fenced' ? 'Fenced' : 'OutOfService',
    action: 'Fence',
    note: `${step.taint.key}=${step.taint.value ?? ''} by fence ${order.id}: ${taint === 'fenced' ? order.reason : step.why}`,
  })
}

function subjectOf(step: Step): string {
  switch (step.kind) {
    case 'taint':
      return step.node
    case 'release-lease':
      return fullName(step.lease)
    case 'tolerate':
    case 'fail-pod':
    case 'delete-pod':
      return fullName(step.pod)
    case 'vm':
      return `${fullName(step.workload)} ${step.action.kind}`
    default:
      return step satisfies never
  }
}
