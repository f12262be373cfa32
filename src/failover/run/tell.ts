/** Turns plans and steps into progress and Kubernetes Events: each thing told once, when it changes. */
import type { KubeError } from '../../kubernetes/errors.ts'
import { toldOfFlapping } from '../brakes/flapping.ts'
import type { FenceStatus, RecordedWorkload } from '../fence/fence.ts'
import { fencedTaintKey, fullName } from '../fence/names.ts'
import type { FenceOrder } from '../fence/order.ts'
import { toldOfAttachment } from '../plan/attachments.ts'
import type { Plan } from '../plan/plan.ts'
import type { Snapshot } from '../plan/snapshot.ts'
import type { Step } from '../plan/steps.ts'
import type { FailoverClock } from './clock.ts'
import type { EventSubject, EventWriter } from './events.ts'
import type { StepOutcome } from './outcome.ts'
import type { FailoverProgress } from './progress.ts'

export interface Teller {
  planned(plan: Plan, before: FenceStatus, vms: Snapshot['vms']): void
  stepDone(step: Step, outcome: StepOutcome): void
  stepFailed(step: Step, error: KubeError, reason: string): void
}

export function createTeller({
  order,
  clock,
  onProgress,
  events,
}: {
  readonly order: FenceOrder
  readonly clock: FailoverClock
  readonly onProgress: FailoverProgress
  readonly events: EventWriter
}): Teller {
  const told = new Set<string>()
  /** Numbers count down in a reason without its being another one. */
  const isNew = (...parts: readonly string[]): boolean => {
    const key = parts.join('|').replace(/\d+/g, '#')
    if (told.has(key)) return false
    told.add(key)
    return true
  }
  const nodeSubject = (node: string, uid: string): EventSubject => ({ apiVersion: 'v1', kind: 'Node', name: node, uid })

  const workloadChanged = (workload: RecordedWorkload, vms: Snapshot['vms']): void => {
    const atMs = clock.nowMs()
    const name = fullName(workload)
    const subject: EventSubject =
      workload.kind === 'Pod'
        ? { apiVersion: 'v1', kind: 'Pod', namespace: workload.namespace, name: workload.name, uid: workload.uid }
        : {
            apiVersion: 'kubevirt.io/v1',
            kind: workload.kind,
            namespace: workload.namespace,
            name: workload.name,
            uid: workload.kind === 'VirtualMachine' ? (vms.get(name)?.uid ?? '') : workload.uid,
          }
    switch (workload.state) {
      case 'held':
        onProgress({ kind: 'held', workload: name, reason: workload.reason, atMs })
        events.write({
          subject,
          type: 'Warning',
          reason: 'FenceHeld',
          action: 'Hold',
          note: `held, not started elsewhere: ${workload.reason}`,
        })
        return
      case 'skipped':
        onProgress({ kind: 'skipped', workload: name, reason: workload.reason, atMs })
        return
      case 'running':
        onProgress({ kind: 'vm-running', vm: name, node: workload.newNode, atMs })
        events.write({
          subject,
          type: 'Normal',
          reason: 'FenceRecovered',
          action: 'Recover',
          note: `${workload.replacedBy === undefined ? 'runs' : `${workload.replacedBy} runs in its place`} on ${workload.newNode} after fence ${order.id} of node ${workload.node}`,
        })
        return
      case 'stopped':
      case 'failed':
        onProgress({ kind: 'vm-settled', vm: name, state: workload.state, reason: workload.reason, atMs })
        if (workload.state === 'failed')
          events.write({ subject, type: 'Warning', reason: 'FenceNotRecovered', action: 'Recover', note: workload.reason })
        return
      case 'waiting':
      case 'ordered':
      case 'cleared':
        return
      default:
        workload.state satisfies never
    }
  }

  return {
    planned: (plan, before, vms) => {
      const atMs = clock.nowMs()
      const statesBefore = new Map(before.workloads.map((workload) => [workload.uid, workload.state]))
      for (const workload of plan.status.workloads) {
        if (statesBefore.get(workload.uid) !== workload.state && isNew('state', workload.uid, workload.state, workload.reason))
          workloadChanged(workload, vms)
      }
      for (const { kind, pod, reason, readyInMs } of plan.verdicts) {
        if (kind === 'skipped' && isNew('skipped', pod.uid, reason)) onProgress({ kind: 'skipped', workload: fullName(pod), reason, atMs })
        if (kind === 'stuck' && isNew('stuck', pod.uid, reason)) onProgress({ kind: 'held', workload: fullName(pod), reason, atMs })
        if (kind === 'waiting' && isNew('waiting', pod.uid, reason)) {
          onProgress({
            kind: 'waiting-for-proof',
            node: pod.nodeName,
            workload: fullName(pod),
            reason,
            ...(readyInMs === undefined ? {} : { readyInMs }),
            atMs,
          })
        }
      }
      for (const { workload, reason } of plan.unplaced)
        if (isNew('unplaced', workload, reason)) onProgress({ kind: 'vm-unplaced', vm: workload, reason, atMs })
      for (const { kind, namespace, name, pod, uid, reason } of plan.status.unplaced) {
        if (!isNew('unplaced', uid, reason)) continue
        if (kind === 'Pod') onProgress({ kind: 'pod-unplaced', pod: `${namespace}/${name}`, reason, atMs })
        const subject: EventSubject = { apiVersion: 'v1', kind: 'Pod', namespace, name: pod, uid }
        events.write({ subject, type: 'Warning', reason: 'FenceUnplaced', action: 'Place', note: `after fence ${order.id}: ${reason}` })
      }
      const { flapping } = plan.status
      if (flapping !== undefined && isNew('flapping')) {
        onProgress({ kind: 'flapping', ...flapping, atMs })
        for (const { name, uid } of plan.status.nodes)
          events.write({
            subject: nodeSubject(name, uid),
            type: 'Warning',
            reason: 'Flapping',
            action: 'Fence',
            note: `fence ${order.id}: ${toldOfFlapping(flapping)}`,
          })
      }
      for (const attachment of plan.status.volumeAttachments) {
        const { name, node } = attachment
        if (!attachment.isLate || !isNew('attachment', name)) continue
        const note = toldOfAttachment(attachment)
        onProgress({ kind: 'volume-attachment-stuck', volumeAttachment: name, node, reason: note, atMs })
        const uid = plan.status.nodes.find((recorded) => recorded.name === node)?.uid ?? ''
        events.write({ subject: nodeSubject(node, uid), type: 'Warning', reason: 'VolumeAttachmentStuck', action: 'Detach', note })
      }
    },
    stepDone: (step, outcome) => {
      const atMs = clock.nowMs()
      onProgress({ kind: 'step-done', step: step.kind, subject: subjectOf(step), outcome, atMs })
      if (outcome === 'dry-run') return
      if (step.kind === 'taint' && outcome === 'done') {
        const taint = step.taint.key === fencedTaintKey ? 'fenced' : 'out-of-service'
        onProgress({ kind: 'node-tainted', node: step.node, taint, atMs })
        events.write({
          subject: nodeSubject(step.node, step.node),
          type: 'Warning',
          reason: taint === 'fenced' ? 'Fenced' : 'OutOfService',
          action: 'Fence',
          note: `${step.taint.key}=${step.taint.value ?? ''} by fence ${order.id}: ${taint === 'fenced' ? order.reason : step.why}`,
        })
      }
      if (step.kind === 'release-lease' && outcome === 'done')
        onProgress({ kind: 'lease-released', lease: fullName(step.lease), holder: step.lease.holder, atMs })
      if (step.kind === 'delete-pod' && outcome !== 'replaced') {
        onProgress({ kind: 'pod-cleared', pod: fullName(step.pod), node: step.pod.nodeName, proof: step.proof, atMs })
        if (step.vm !== undefined && step.proof !== 'none') onProgress({ kind: 'vm-ordered', vm: step.vm, proof: step.proof, atMs })
      }
    },
    stepFailed: (step, error, reason) => {
      if (!isNew('failed', step.key, reason)) return
      onProgress({ kind: 'step-failed', step: step.kind, subject: subjectOf(step), code: error.code, reason, atMs: clock.nowMs() })
    },
  }
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
