/** What is done for all the VMs whose pods are gone, each by what it needs (vm.ts). Pure. */
import type { VirtualMachineInstanceView } from '../../kubernetes/resources.ts'
import type { RecordedWorkload } from '../fence/fence.ts'
import { compareText, fullName } from '../fence/names.ts'
import type { AgeMs, PlanInput } from './plan-input.ts'
import type { Snapshot } from './snapshot.ts'
import type { Step } from './steps.ts'
import { followVm, isFinal } from './vm.ts'

export interface FollowedVms {
  readonly workloads: readonly RecordedWorkload[]
  readonly steps: readonly Step[]
  /** They cannot be placed now, and why. */
  readonly unplaced: readonly { readonly workload: string; readonly reason: string }[]
}

export function followVms({ snapshot, order, config }: PlanInput, workloads: readonly RecordedWorkload[], ageMs: AgeMs): FollowedVms {
  const fencedNodes = new Set<string>(order.nodes)
  const podOwners = new Set(snapshot.pods.map((pod) => pod.owner?.uid))
  const replacements = replacementsBySet(snapshot, workloads)
  const steps: Step[] = []
  const unplaced: { workload: string; reason: string }[] = []
  const next = workloads.map((workload): RecordedWorkload => {
    if (workload.kind === 'Pod' || workload.state !== 'ordered' || podOwners.has(workload.uid)) return workload
    const name = fullName(workload)
    const vmi = snapshot.vmis.get(name)
    const replacement = workload.set === undefined || vmi?.uid === workload.uid ? undefined : replacements.get(workload.set)?.shift()
    const clearedForMs = ageMs(`cleared ${workload.uid}`)
    const followUp = followVm({ record: workload, vm: snapshot.vms.get(name), vmi, replacement, fencedNodes, clearedForMs }, config)
    if (followUp.unplaced === true) unplaced.push({ workload: name, reason: followUp.reason })
    // A touch starts nothing, but neither is it ours to hurry on what others did: virt-controller comes to it by itself.
    if (followUp.action?.kind === 'touch-vmi' && workload.proof === '') return { ...workload, reason: followUp.reason }
    if (followUp.action !== undefined && workload.proof === '') {
      return {
        ...workload,
        state: 'failed',
        reason: `its pod went by other hands before there was a proof, so nothing more is done for it: ${followUp.reason}`,
      }
    }
    if (followUp.action !== undefined) {
      steps.push({ kind: 'vm', key: `${followUp.action.kind} ${workload.uid}`, workload, action: followUp.action, why: followUp.reason })
    }
    const { state, reason, newNode, replacedBy } = followUp
    return { ...workload, state, reason, newNode, ...(replacedBy === undefined ? {} : { replacedBy }) }
  })
  return { workloads: next, steps, unplaced }
}

/** Of each set, the instances that it made since the fence and that stand in for none of the lost ones yet: those that run first. */
function replacementsBySet(
  { vmis, since }: Snapshot,
  workloads: readonly RecordedWorkload[],
): ReadonlyMap<string, VirtualMachineInstanceView[]> {
  const sets = new Set(workloads.flatMap(({ set }) => (set === undefined ? [] : [set])))
  if (sets.size === 0) return new Map()
  const lost = new Set(workloads.map(({ uid }) => uid))
  const taken = new Set(workloads.flatMap(({ namespace, replacedBy }) => (replacedBy === undefined ? [] : [`${namespace}/${replacedBy}`])))
  const isFree = (vmi: VirtualMachineInstanceView): boolean =>
    sets.has(vmi.owner?.uid ?? '') && vmi.createdAt >= since && !lost.has(vmi.uid) && !taken.has(fullName(vmi)) && !isFinal(vmi.phase)
  const rank = (vmi: VirtualMachineInstanceView): string => `${vmi.phase === 'Running' ? '0' : '1'} ${vmi.name}`
  const free = [...vmis.values()].filter(isFree).sort((a, b) => compareText(rank(a), rank(b)))
  return Map.groupBy(free, (vmi) => vmi.owner?.uid ?? '')
}
