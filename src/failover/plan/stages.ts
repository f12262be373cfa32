/** The steps of a plan in their order: what comes first, what waits for what (docs/failover.md, "Executing the fence"). Pure. */
import type { RecordedLease } from '../fence/fence.ts'
import { fullName, outOfServiceTaintKey } from '../fence/names.ts'
import type { CommittedFence } from '../fence/committed-fence.ts'
import { fencedTaint, hasTaint, isOutOfService, outOfServiceTaint } from '../fence/taints.ts'
import type { ClassifiedPod } from './classify.ts'
import { immunitySteps } from './out-of-service.ts'
import type { PlanInput } from './plan-input.ts'
import { byPriority, type PodVerdict } from './pod-verdict.ts'
import type { Snapshot } from './snapshot.ts'
import type { Stage, Step } from './steps.ts'

/** What was found out before, from which the stages follow. */
export interface Findings {
  /** Nodes that nothing is done to. */
  readonly overtaken: ReadonlyMap<string, string>
  readonly verdicts: readonly PodVerdict[]
  /** Nodes that may be put out of service. */
  readonly eligible: readonly string[]
  /** The verdicts on pods that may be cleared at all at this moment. */
  readonly cleared: readonly PodVerdict[]
  readonly waves: readonly (readonly PodVerdict[])[]
  readonly leases: readonly RecordedLease[]
  readonly vmSteps: readonly Step[]
}

export function stagesOf(input: PlanInput, findings: Findings): readonly Stage[] {
  const { overtaken, verdicts, cleared, waves } = findings
  const stages: readonly Stage[] = [
    { name: 'fenced taints', barrier: true, steps: fencedTaintSteps(input, overtaken) },
    { name: 'immunity', barrier: false, steps: immunitySteps(verdicts.filter(({ pod }) => !overtaken.has(pod.nodeName))) },
    { name: 'out of service', barrier: false, steps: outOfServiceSteps(input, findings) },
    { name: 'leader leases', barrier: false, steps: leaseSteps(input, findings) },
    { name: 'control pods', barrier: false, steps: clearSteps(cleared, ['control']) },
    ...waves.map((wave, index): Stage => ({ name: `VM wave ${String(index + 1)}`, barrier: false, steps: wave.map(clearStep) })),
    { name: 'stateful pods', barrier: false, steps: clearSteps(cleared, ['stateful']) },
    { name: 'jobs', barrier: false, steps: jobSteps(cleared) },
    { name: 'other pods', barrier: false, steps: clearSteps(cleared, ['other']) },
    { name: 'virtual machines', barrier: false, steps: findings.vmSteps },
    { name: 'hot-plug pods left over', barrier: false, steps: hotplugSteps(cleared, input.snapshot) },
  ]
  return stages.filter((stage) => stage.steps.length > 0)
}

function fencedTaintSteps({ order, snapshot }: PlanInput, overtaken: ReadonlyMap<string, string>): readonly Step[] {
  const untainted = order.nodes.flatMap((name) => {
    const node = snapshot.nodes.get(name)
    return node === undefined || overtaken.has(name) || hasTaint(node.taints, fencedTaint(order.epoch)) ? [] : [name]
  })
  return untainted.map((node) => ({
    kind: 'taint',
    key: `taint ${node} fenced`,
    node,
    taint: fencedTaint(order.epoch),
    why: 'nothing may be scheduled back to a fenced node',
  }))
}

const outOfServiceKey = (node: string): string => `taint ${node} ${outOfServiceTaintKey}`

const outOfServiceSteps = ({ snapshot }: PlanInput, { eligible }: Findings): readonly Step[] =>
  eligible
    .filter((node) => !isOutOfService(snapshot.nodes.get(node)?.taints ?? []))
    .map((node) => ({
      kind: 'taint',
      key: outOfServiceKey(node),
      node,
      taint: outOfServiceTaint,
      why: 'every storage workload on it has its proof',
    }))

const leaseSteps = ({ proofs }: PlanInput, { leases, overtaken }: Findings): readonly Step[] =>
  leases
    .filter((lease) => !overtaken.has(lease.node))
    .filter((lease) => !lease.released && proofs.node(lease.node as CommittedFence['nodes'][number]).isProved)
    .map((lease) => ({
      kind: 'release-lease',
      key: `lease ${fullName(lease)} ${lease.holder}`,
      lease,
      why: `its holder ${lease.holder} stopped with node ${lease.node}`,
    }))

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
