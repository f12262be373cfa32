/**
 * The plan of a fence on the cluster: what may be done now, in which order, and why (docs/failover.md, "Executing the fence"). Pure.
 *
 * It is made anew after every change from the cluster as it is and the Fence object alone, so it is idempotent, and any agent can go on from any point.
 */
import type { VirtualMachineInstanceView } from '../kubernetes/resources.ts'
import { followAttachments } from './attachments.ts'
import { type ClassifiedPod, classifyPods } from './classify.ts'
import type { FenceStatus, RecordedWorkload } from './fence-object.ts'
import { leasesHeldOn } from './leases.ts'
import { type DataGate, type FailoverConfig, type FenceOrder, outOfServiceTaintKey, type Proofs } from './order.ts'
import { immunitySteps, outOfServiceNodes } from './out-of-service.ts'
import { decidePod, type PodVerdict } from './pod-verdict.ts'
import { compareText, nextStatus, nodeRecords } from './plan-status.ts'
import { recordWorkloads } from './record.ts'
import { fullName, type Snapshot } from './snapshot.ts'
import type { Stage, Step } from './steps.ts'
import { fencedTaint, hasTaint, isOutOfService, isUnfencedSince, outOfServiceTaint, unfencedSinceReason } from './taints.ts'
import { unplacedWorkloads } from './unplaced.ts'
import { followVm, isFinal } from './vm.ts'

export interface PlanInput {
  readonly order: FenceOrder
  readonly snapshot: Snapshot
  readonly proofs: Proofs
  readonly dataGate: DataGate
  readonly config: FailoverConfig
  readonly nowMs: number
  /** Since when this agent has seen each subject wait (`Plan.subjects` of the plans before). */
  readonly sinceMs: ReadonlyMap<string, number>
  /** Wall-clock time, for the record only. */
  readonly isoTime: string
  /** Steps that the API server refused when they were last tried, by key, and why. */
  readonly refused?: ReadonlyMap<string, string>
}

export interface Plan {
  /** In order. A stage marked as a barrier is wholly done before the next begins. */
  readonly stages: readonly Stage[]
  /** To be written before anything of this plan is done. */
  readonly status: FenceStatus
  /** Subjects whose waiting time counts. */
  readonly subjects: ReadonlySet<string>
  /** The soonest proof that will hold by itself. */
  readonly lookAgainInMs: number | undefined
  readonly verdicts: readonly PodVerdict[]
  readonly unplaced: readonly { readonly workload: string; readonly reason: string }[]
}

/** The longest wait, once all is done, for replacements that no node takes. */
const longestSettleMs = 2_000

export function planFailover(given: PlanInput): Plan {
  // A node that was un-fenced is none of this fence's any more, whatever the order says.
  const unfenced = new Set(given.snapshot.recorded.unfenced.map((entry) => entry.node))
  const input = unfenced.size === 0 ? given : withoutNodes(given, unfenced)
  const { order, snapshot, config } = input
  const overtaken = overtakenNodes(input)
  const pods = classifyPods(snapshot, config)
  const verdicts = judgePods(pods, input, overtaken)
  const subjects = new Set<string>()
  const ageMs = (subject: string): number => {
    subjects.add(subject)
    return input.nowMs - (input.sinceMs.get(subject) ?? input.nowMs)
  }

  const untainted = order.nodes.flatMap((name) => {
    const node = snapshot.nodes.get(name)
    return node === undefined || overtaken.has(name) || hasTaint(node.taints, fencedTaint(order.epoch)) ? [] : [name]
  })
  const outOfService = outOfServiceNodes(input, verdicts, overtaken, ageMs)
  // Both taints come before any delete, and the order of deletes is one for all nodes: so all wait for that moment.
  const cleared = outOfService.dueInMs === undefined ? verdicts : []
  const waves = vmWaves(cleared, snapshot.recorded.workloads, config, ageMs)
  const deletedNow = new Set(waves.flat().map((verdict) => verdict.pod.uid))
  const recorded = recordWorkloads(input, pods, verdicts, deletedNow)
  const followed = followVms(input, recorded, ageMs)
  const leases = mergeLeases(input)

  const stages: Stage[] = [
    {
      name: 'fenced taints',
      barrier: true,
      steps: untainted.map((node) => ({
        kind: 'taint',
        key: `taint ${node} fenced`,
        node,
        taint: fencedTaint(order.epoch),
        why: 'nothing may be scheduled back to a fenced node',
      })),
    },
    { name: 'immunity', barrier: false, steps: immunitySteps(verdicts.filter(({ pod }) => !overtaken.has(pod.nodeName))) },
    {
      name: 'out of service',
      barrier: false,
      steps: outOfService.eligible
        .filter((node) => !isOutOfService(snapshot.nodes.get(node)?.taints ?? []))
        .map((node) => ({
          kind: 'taint',
          key: outOfServiceKey(node),
          node,
          taint: outOfServiceTaint,
          why: 'every storage workload on it has its proof',
        })),
    },
    {
      name: 'leader leases',
      barrier: false,
      steps: leases
        .filter((lease) => !overtaken.has(lease.node))
        .filter((lease) => !lease.released && input.proofs.node(lease.node as FenceOrder['nodes'][number]).held)
        .map((lease) => ({
          kind: 'release-lease',
          key: `lease ${fullName(lease)} ${lease.holder}`,
          lease,
          why: `its holder ${lease.holder} stopped with node ${lease.node}`,
        })),
    },
    { name: 'control pods', barrier: false, steps: clearSteps(cleared, ['control']) },
    ...waves.map((wave, index): Stage => ({ name: `VM wave ${String(index + 1)}`, barrier: false, steps: wave.map(clearStep) })),
    { name: 'stateful pods', barrier: false, steps: clearSteps(cleared, ['stateful']) },
    { name: 'jobs', barrier: false, steps: jobSteps(cleared) },
    { name: 'other pods', barrier: false, steps: clearSteps(cleared, ['other']) },
    { name: 'virtual machines', barrier: false, steps: followed.steps },
    { name: 'hot-plug pods left over', barrier: false, steps: hotplugSteps(cleared, snapshot) },
  ]

  const attachments = followAttachments(input, verdicts, ageMs)
  const unplaced = unplacedWorkloads(input, ageMs)
  const waiting = verdicts.filter((verdict) => verdict.kind === 'waiting')
  const settled = nextStatus(input, {
    stages,
    verdicts,
    workloads: followed.workloads,
    nodes: nodeRecords(input, outOfService.waitingFor),
    leases,
    volumeAttachments: attachments.left,
    unplaced: unplaced.all,
    isOpen: attachments.isYoung || unplaced.isYoung,
    isOvertaken: overtaken.size > 0,
  })
  // A controller needs a moment to replace what was cleared, and the scheduler one more to say that it has no node for it.
  const isEnding = settled.phase === 'Finished' && snapshot.recorded.phase !== 'Finished'
  const settlesInMs = isEnding && !order.dryRun ? Math.min(longestSettleMs, config.lookEveryMs) - ageMs('settled') : 0
  const status: FenceStatus = settlesInMs > 0 ? { ...settled, phase: 'Acting', finishedAt: '' } : settled
  const readyIn = waiting.flatMap((verdict) => (verdict.readyInMs === undefined ? [] : [verdict.readyInMs]))
  const soonest = [
    ...readyIn,
    ...(settlesInMs > 0 ? [settlesInMs] : []),
    ...(outOfService.dueInMs === undefined ? [] : [outOfService.dueInMs]),
  ]
  return {
    stages: stages.filter((stage) => stage.steps.length > 0),
    status,
    subjects,
    lookAgainInMs: soonest.length === 0 ? undefined : Math.max(0, Math.min(...soonest)),
    verdicts,
    unplaced: followed.unplaced,
  }
}

function withoutNodes(input: PlanInput, left: ReadonlySet<string>): PlanInput {
  return {
    ...input,
    order: { ...input.order, nodes: input.order.nodes.filter((node) => !left.has(node)) },
    snapshot: {
      ...input.snapshot,
      pods: input.snapshot.pods.filter((pod) => !left.has(pod.nodeName)),
      volumeAttachments: input.snapshot.volumeAttachments.filter((attachment) => !left.has(attachment.nodeName)),
    },
  }
}

/**
 * Nodes that say that they were un-fenced after this fence, and why nothing is done to them: another agent may have done that, and ours has not heard
 * of it yet. Their pods count, since a VM waits for all of its own.
 */
const overtakenNodes = ({ order, snapshot }: PlanInput): ReadonlyMap<string, string> =>
  new Map(
    order.nodes.flatMap((name) => {
      const annotations = snapshot.nodes.get(name)?.annotations ?? {}
      return isUnfencedSince(annotations, order.epoch) ? [[name, unfencedSinceReason(name, annotations)]] : []
    }),
  )

/** A VM waits for all of its pods on fenced nodes: its launcher is not cleared while its migration target, or a second launcher, is not proved. */
function judgePods(pods: readonly ClassifiedPod[], input: PlanInput, overtaken: ReadonlyMap<string, string>): readonly PodVerdict[] {
  const verdicts = pods.map((classified): PodVerdict => {
    const verdict = decidePod(classified, input)
    const reason = overtaken.get(classified.pod.nodeName)
    if (reason === undefined || verdict.kind === 'skipped') return verdict
    return { pod: classified.pod, classified, kind: 'waiting', reason, isProved: false, proof: 'none' }
  })
  const slowest = new Map<string, PodVerdict>()
  for (const verdict of verdicts) {
    const vmi = verdict.classified.vmi?.uid
    if (vmi !== undefined && verdict.classified.podClass !== 'hotplug' && verdict.kind !== 'ready') slowest.set(vmi, verdict)
  }
  return verdicts.map((verdict) => {
    const other = slowest.get(verdict.classified.vmi?.uid ?? '')
    if (other === undefined || verdict.kind !== 'ready') return verdict
    const reason = `${fullName(other.pod)} of the same VM: ${other.reason}`
    // A pod that finalizers hold up is cleared as far as we can: the others need not wait for it.
    if (other.kind === 'stuck') return verdict
    return {
      ...verdict,
      kind: other.kind === 'skipped' ? 'held' : other.kind,
      reason,
      ...(other.readyInMs === undefined ? {} : { readyInMs: other.readyInMs }),
    }
  })
}

const outOfServiceKey = (node: string): string => `taint ${node} ${outOfServiceTaintKey}`

const clearStep = (verdict: PodVerdict): Step => ({
  kind: 'delete-pod',
  key: `delete ${verdict.pod.uid}`,
  pod: verdict.pod,
  proof: verdict.proof,
  needs: outOfServiceKey(verdict.pod.nodeName),
  vm: verdict.classified.podClass === 'launcher' ? fullName(verdict.classified.vmi ?? verdict.pod) : undefined,
  why: verdict.reason,
})

const clearSteps = (verdicts: readonly PodVerdict[], classes: readonly ClassifiedPod['podClass'][]): readonly Step[] =>
  verdicts
    .filter((verdict) => verdict.kind === 'ready' && classes.includes(verdict.classified.podClass))
    .sort((a, b) => a.classified.controlRank - b.classified.controlRank || byPriority(a, b))
    .map(clearStep)

const byPriority = (a: PodVerdict, b: PodVerdict): number =>
  b.classified.priority - a.classified.priority || compareText(fullName(a.pod), fullName(b.pod))

/** VMs by priority, `waveSize` at a time, a VM's pods together. With the readiness gate one wave only, and none while the one before still starts. */
function vmWaves(
  verdicts: readonly PodVerdict[],
  recorded: readonly RecordedWorkload[],
  config: FailoverConfig,
  ageMs: (subject: string) => number,
): readonly (readonly PodVerdict[])[] {
  const podsByVm = new Map<string, PodVerdict[]>()
  const ready = verdicts
    .filter(
      (verdict) =>
        verdict.kind === 'ready' && (verdict.classified.podClass === 'launcher' || verdict.classified.podClass === 'migration-target'),
    )
    .sort(byPriority)
  for (const verdict of ready) {
    const vm = verdict.classified.vmi?.uid ?? verdict.pod.uid
    podsByVm.set(vm, [...(podsByVm.get(vm) ?? []), verdict])
  }
  const waves: PodVerdict[][] = []
  const vms = [...podsByVm.values()]
  for (let from = 0; from < vms.length; from += config.waveSize) waves.push(vms.slice(from, from + config.waveSize).flat())
  if (!config.waveReadinessGate) return waves
  const present = new Set(verdicts.map((verdict) => verdict.classified.vmi?.uid))
  const isStarting = recorded.some(
    (workload) => workload.state === 'ordered' && !present.has(workload.uid) && ageMs(`wave ${workload.uid}`) < config.waveReadyMs,
  )
  // A wave that was begun is finished whatever its first VMs do: its pods are recorded as ordered before any is deleted.
  const begun = new Set(recorded.flatMap((workload) => (workload.state === 'ordered' ? [workload.uid] : [])))
  const rest = waves.flat().filter((verdict) => begun.has(verdict.classified.vmi?.uid ?? ''))
  if (rest.length > 0) return [rest]
  return isStarting ? [] : waves.slice(0, 1)
}

/** Job pods must have ended before their tracking finalizer goes; a pod is deleted only after its phase was set. */
function jobSteps(verdicts: readonly PodVerdict[]): readonly Step[] {
  const ready = verdicts.filter((verdict) => verdict.kind === 'ready' && verdict.classified.podClass === 'job').sort(byPriority)
  return ready.flatMap((verdict): readonly Step[] => {
    const key = `fail ${verdict.pod.uid}`
    const hasEnded = verdict.pod.phase === 'Failed' || verdict.pod.phase === 'Succeeded'
    const fail: Step = {
      kind: 'fail-pod',
      key,
      pod: verdict.pod,
      needs: outOfServiceKey(verdict.pod.nodeName),
      why: 'a Job counts a pod only when it has ended',
    }
    const clear = clearStep(verdict)
    return hasEnded ? [clear] : [fail, { ...clear, needs: key }]
  })
}

/** Left to their owner's garbage collection; swept up when their launcher has gone and they have not. */
function hotplugSteps(verdicts: readonly PodVerdict[], snapshot: Snapshot): readonly Step[] {
  const uids = new Set(snapshot.pods.map((pod) => pod.uid))
  return verdicts
    .filter((verdict) => verdict.kind === 'ready' && verdict.classified.podClass === 'hotplug' && !uids.has(verdict.pod.owner?.uid ?? ''))
    .map(clearStep)
}

function followVms(
  { snapshot, order, config }: PlanInput,
  workloads: readonly RecordedWorkload[],
  ageMs: (subject: string) => number,
): { readonly workloads: readonly RecordedWorkload[]; readonly steps: readonly Step[]; readonly unplaced: Plan['unplaced'] } {
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

function mergeLeases({ snapshot, order }: PlanInput): FenceStatus['leases'] {
  const known = snapshot.recorded.leases
  const isKnown = new Set(known.map((lease) => `${fullName(lease)} ${lease.holder}`))
  const found = leasesHeldOn(order.nodes, snapshot.pods, snapshot.leases).filter(
    (lease) => !isKnown.has(`${fullName(lease)} ${lease.holder}`),
  )
  // Who leads by now is in the lease itself: a holder that changed needs no release.
  const holders = new Map(snapshot.leases.map((lease) => [fullName(lease), lease.holder]))
  return [...known, ...found].map((lease) => {
    const holder = holders.get(fullName(lease))
    return holder === undefined || holder === lease.holder ? lease : { ...lease, released: true }
  })
}
