/** What a plan writes into the Fence object: how far each node is, what stands still, and the phase of it all. Pure. */
import type { FenceStatus, RecordedNode } from './fence-object.ts'
import type { PlanInput } from './plan.ts'
import type { PodVerdict } from './pod-verdict.ts'
import { fullName } from './snapshot.ts'
import type { Stage } from './steps.ts'
import { fencedTaint, hasTaint, isOutOfService } from './taints.ts'

export const compareText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

/** How far each node is, and what keeps it. */
export function nodeRecords({ order, snapshot, proofs }: PlanInput, waitingFor: ReadonlyMap<string, string>): readonly RecordedNode[] {
  const before = new Map(snapshot.recorded.nodes.map((node) => [node.name, node]))
  return [...order.nodes].sort(compareText).map((name) => {
    const node = snapshot.nodes.get(name)
    const known = before.get(name)
    const answer = proofs.node(name)
    return {
      name,
      uid: known?.uid || node?.uid || '',
      bootId: known?.bootId || node?.bootId || '',
      fenced: node !== undefined && hasTaint(node.taints, fencedTaint(order.epoch)),
      outOfService: node !== undefined && isOutOfService(node.taints),
      proof: answer.held ? answer.proof.kind : (known?.proof ?? ''),
      waitingFor: node === undefined ? 'its Node object does not exist' : (waitingFor.get(name) ?? ''),
    }
  })
}

/** What stands still for reasons that are not ours to remove: finalizers of others, attachments that nobody detaches. Told of, never forced. */
export function stuckThings(
  { snapshot, config }: PlanInput,
  verdicts: readonly PodVerdict[],
  ageMs: (subject: string) => number,
): { readonly told: readonly string[]; readonly isOpen: boolean } {
  const told: string[] = []
  let isOpen = false
  const heldVolumes = new Set(
    verdicts.flatMap((verdict) =>
      verdict.kind === 'ready'
        ? []
        : verdict.pod.volumes.flatMap((volume) => (volume.kind === 'claim' ? [`${verdict.pod.namespace}/${volume.claim}`] : [])),
    ),
  )
  for (const verdict of verdicts) if (verdict.kind === 'stuck') told.push(`pod ${fullName(verdict.pod)}: ${verdict.reason}`)
  const claimOf = new Map([...snapshot.volumesByClaim].map(([claim, volume]) => [volume.name, claim]))
  for (const attachment of snapshot.volumeAttachments) {
    if (heldVolumes.has(claimOf.get(attachment.persistentVolume) ?? '')) continue
    if (ageMs(`attachment ${attachment.uid}`) < config.volumeAttachmentDeadlineMs) {
      isOpen = true
      continue
    }
    const by = attachment.finalizers.length > 0 ? ` (finalizers: ${attachment.finalizers.join(', ')})` : ''
    told.push(
      `VolumeAttachment ${attachment.name} on ${attachment.nodeName}: ${attachment.attacher} has not detached ${attachment.persistentVolume}${by}`,
    )
  }
  return { told, isOpen }
}

interface StatusParts extends Pick<FenceStatus, 'workloads' | 'nodes' | 'leases' | 'stuck'> {
  readonly stages: readonly Stage[]
  readonly verdicts: readonly PodVerdict[]
  readonly isOpen: boolean
}

/** The whole status to be written; a phase says whether anything is left to do or to wait for. */
export function nextStatus({ snapshot, order, isoTime }: PlanInput, parts: StatusParts): FenceStatus {
  const { recorded } = snapshot
  const { workloads, verdicts, stages } = parts
  const held = workloads.filter((workload) => workload.state === 'held').length
  const waiting = verdicts.filter((verdict) => verdict.kind === 'waiting' || verdict.kind === 'held').length
  const stuckPods = verdicts.some((verdict) => verdict.kind === 'stuck')
  const acting =
    stages.some((stage) => stage.steps.length > 0) || workloads.some((workload) => workload.state === 'ordered') || parts.isOpen
  const phase = acting ? 'Acting' : waiting > 0 || stuckPods ? 'Waiting' : 'Finished'
  const vms = workloads.filter((workload) => workload.kind !== 'Pod')
  const running = vms.filter((workload) => workload.state === 'running').length
  return {
    ...recorded,
    phase,
    carriedOutBy: order.carriedOutBy,
    message: `${String(running)} of ${String(vms.length)} VMs run elsewhere; ${String(waiting)} pods wait or are held; ${String(parts.stuck.length)} stuck`,
    nodes: parts.nodes,
    workloads,
    leases: parts.leases,
    stuck: parts.stuck,
    counts: { pods: verdicts.length, vms: vms.length, running, held },
    startedAt: recorded.startedAt === '' ? isoTime : recorded.startedAt,
    finishedAt: phase === 'Finished' ? recorded.finishedAt || isoTime : '',
  }
}
