/** What has no node after a fence, in the scheduler's own words. Pure. */
import type { RecordedUnplaced } from '../fence/fence.ts'
import type { AgeMs, PlanInput } from './plan-input.ts'

/** The Fence object is read by people: what is beyond this is counted only. */
export const unplacedShown = 200

export interface Unplaced {
  readonly all: readonly RecordedUnplaced[]
  /** One waits for the scheduler's word, or for a node and not yet for very long. */
  readonly isYoung: boolean
}

/**
 * Pods without a node that were made since the fence. A launcher is told of as its VM. DaemonSet pods belong to one node each; a pod with a scheduling gate
 * waits for whoever gated it.
 */
export function unplacedWorkloads({ snapshot, config }: PlanInput, ageMs: AgeMs): Unplaced {
  const all: RecordedUnplaced[] = []
  let isYoung = false
  for (const pod of snapshot.unbound) {
    if (pod.isTerminating || pod.isGated || pod.owner?.kind === 'DaemonSet') continue
    if (ageMs(`unbound ${pod.uid}`) < config.vmDeadlineMs) isYoung = true
    if (pod.unschedulable === undefined) continue
    const vmi = pod.owner?.kind === 'VirtualMachineInstance' ? pod.owner.name : undefined
    all.push({
      kind: vmi === undefined ? 'Pod' : snapshot.vms.has(`${pod.namespace}/${vmi}`) ? 'VirtualMachine' : 'VirtualMachineInstance',
      namespace: pod.namespace,
      name: vmi ?? pod.name,
      pod: pod.name,
      uid: pod.uid,
      owner: pod.owner === undefined ? '' : `${pod.owner.kind} ${pod.owner.name}`,
      reason: pod.unschedulable,
    })
  }
  const key = ({ namespace, name }: RecordedUnplaced): string => `${namespace}/${name}`
  all.sort((a, b) => (key(a) < key(b) ? -1 : 1))
  return { all, isYoung }
}
