/** What is written down of each workload before it is touched: once its pod is gone, the cluster no longer knows that it ever ran. Pure. */
import type { PodView, VirtualMachineInstanceView } from '../../kubernetes/resources.ts'
import { isSettled, type RecordedWorkload, type WorkloadState } from '../fence/fence.ts'
import { fullName } from '../fence/names.ts'
import type { CommittedFence } from '../fence/committed-fence.ts'
import type { ClassifiedPod } from './classify.ts'
import type { PodVerdict } from './pod-verdict.ts'
import type { Snapshot } from './snapshot.ts'
import { isFinal, stoppingPhase } from './vm.ts'

interface RecordInput {
  readonly snapshot: Snapshot
  readonly order: CommittedFence
  readonly isoTime: string
}

/**
 * The workloads recorded before, brought up to date, and those that are new. A fact of before the fence (uid, runStrategy, phase, node) is never
 * written over: after the first step the cluster shows something else.
 *
 * @param clearedNow uids of VM pods that the present plan clears
 */
export function recordWorkloads(
  { snapshot, order, isoTime }: RecordInput,
  pods: readonly ClassifiedPod[],
  verdicts: readonly PodVerdict[],
  clearedNow: ReadonlySet<string>,
): readonly RecordedWorkload[] {
  const verdictsByUid = new Map<string, PodVerdict[]>()
  for (const verdict of verdicts) {
    const uid = workloadUid(verdict.classified)
    verdictsByUid.set(uid, [...(verdictsByUid.get(uid) ?? []), verdict])
  }
  const known = new Map(snapshot.recorded.workloads.map((workload) => [workload.uid, workload]))
  const firstSeen = [
    ...pods.filter(isWorthRecording).map((pod) => firstRecord(pod, isoTime)),
    ...podlessVmis(snapshot, order, pods, isoTime),
  ]
  for (const workload of firstSeen) if (!known.has(workload.uid)) known.set(workload.uid, workload)
  return [...known.values()].map((workload) => {
    const next = bringUpToDate(workload, verdictsByUid.get(workload.uid) ?? [], clearedNow)
    return next.state === workload.state && next.proof === workload.proof ? next : { ...next, at: isoTime }
  })
}

const workloadUid = ({ vmi, pod, podClass }: ClassifiedPod): string => (vmi !== undefined && podClass === 'launcher' ? vmi.uid : pod.uid)

const isWorthRecording = ({ podClass, proofNeeded, isToStay, skipped, vmi }: ClassifiedPod): boolean =>
  (podClass === 'launcher' && vmi !== undefined) ||
  isToStay ||
  (skipped === undefined && proofNeeded.kind !== 'none' && podClass !== 'hotplug')

function firstRecord({ pod, vmi, vm, priority, podClass }: ClassifiedPod, isoTime: string): RecordedWorkload {
  const isVm = vmi !== undefined && podClass === 'launcher'
  const object = isVm ? vmi : pod
  return {
    kind: isVm ? (vmi.owner?.kind === 'VirtualMachine' ? 'VirtualMachine' : 'VirtualMachineInstance') : 'Pod',
    namespace: object.namespace,
    name: object.name,
    uid: object.uid,
    node: pod.nodeName,
    priority,
    runStrategy: vm?.runStrategy ?? '',
    phaseBefore: isVm ? (isKilledByFence(vmi, pod) ? 'Running' : phaseOf(vmi)) : pod.phase,
    state: 'waiting',
    proof: '',
    reason: '',
    newNode: '',
    startAsked: false,
    ...(isVm ? setOf(vmi) : {}),
    at: isoTime,
  }
}

/**
 * A loser that still reaches the API server kills its workloads before anyone has written them down: the instance has Failed by then, and was running
 * when the fence was chosen. A guest that ended by itself leaves another exit code; one that was being stopped is terminating.
 */
const isKilledByFence = (vmi: VirtualMachineInstanceView, pod: PodView): boolean =>
  vmi.phase === 'Failed' && pod.wasKilled === true && !vmi.isTerminating && !pod.isTerminating

const phaseOf = (vmi: VirtualMachineInstanceView): string => (vmi.isTerminating && !isFinal(vmi.phase) ? stoppingPhase : vmi.phase)

const setOf = ({ owner }: VirtualMachineInstanceView): { readonly set?: string } =>
  owner === undefined || owner.kind === 'VirtualMachine' ? {} : { set: owner.uid }

/** Instances that still count as running on a fenced node though their pod is gone: someone force-deleted it, or the API server was set back in time. */
function podlessVmis(
  snapshot: Snapshot,
  order: CommittedFence,
  pods: readonly ClassifiedPod[],
  isoTime: string,
): readonly RecordedWorkload[] {
  const withPod = new Set(pods.map((pod) => pod.vmi?.uid))
  return [...snapshot.vmis.values()].flatMap((vmi): readonly RecordedWorkload[] => {
    if (withPod.has(vmi.uid) || vmi.phase === 'Failed' || vmi.phase === 'Succeeded' || !order.nodes.some((node) => node === vmi.nodeName))
      return []
    const vm = snapshot.vms.get(fullName(vmi))
    return [
      {
        kind: vmi.owner?.kind === 'VirtualMachine' ? 'VirtualMachine' : 'VirtualMachineInstance',
        namespace: vmi.namespace,
        name: vmi.name,
        uid: vmi.uid,
        node: vmi.nodeName,
        priority: 0,
        runStrategy: vm?.runStrategy ?? '',
        phaseBefore: phaseOf(vmi),
        state: 'ordered',
        proof: '',
        reason: 'its pod was gone already',
        newNode: '',
        startAsked: false,
        ...setOf(vmi),
        at: isoTime,
      },
    ]
  })
}

const withoutStandIn = ({ replacedBy: _replacedBy, ...workload }: RecordedWorkload): RecordedWorkload => workload

function bringUpToDate(recorded: RecordedWorkload, verdicts: readonly PodVerdict[], clearedNow: ReadonlySet<string>): RecordedWorkload {
  const isBack = verdicts.some(({ kind }) => kind !== 'stuck' && kind !== 'skipped')
  if (isSettled(recorded.state) && !isBack) return recorded
  // It had settled after its pods were gone, and they are there again: the API server was set back in time, and all of it happens once more.
  const workload: RecordedWorkload = isSettled(recorded.state)
    ? { ...withoutStandIn(recorded), state: 'waiting', newNode: '', startAsked: false }
    : recorded
  const first = verdicts[0]
  // No pod of it is left on the fenced nodes.
  if (first === undefined)
    return workload.kind === 'Pod' ? { ...workload, state: 'cleared', reason: '' } : { ...workload, state: 'ordered' }
  const open = verdicts.find((verdict) => verdict.kind !== 'ready' && verdict.kind !== 'stuck')
  if (open === undefined) {
    const proof = first.proof === 'none' ? workload.proof : first.proof
    // With the readiness gate a VM may be ready and yet wait for its wave.
    const isOrdered =
      workload.state === 'ordered' ||
      workload.kind === 'Pod' ||
      verdicts.some((verdict) => clearedNow.has(verdict.pod.uid) || verdict.kind === 'stuck')
    return isOrdered
      ? { ...workload, state: 'ordered', proof, reason: first.reason }
      : { ...workload, state: 'waiting', proof, reason: 'waits for the wave before it' }
  }
  const state: WorkloadState = open.kind === 'blocked' ? 'held' : open.kind === 'skipped' ? 'skipped' : 'waiting'
  return { ...workload, state, reason: open.reason }
}
