/** What a plan writes into the Fence object: how far each node is, what stands still, and the phase of it all. Pure. */
import type { FenceStatus, RecordedAttachment, RecordedNode } from '../fence/fence.ts'
import { compareText, fullName } from '../fence/names.ts'
import { fencedTaint, hasTaint, isOutOfService } from '../fence/taints.ts'
import { attachmentNote } from './attachments.ts'
import type { PlanInput } from './plan-input.ts'
import type { PodVerdict } from './pod-verdict.ts'
import type { Stage } from './steps.ts'
import { unplacedShown } from './unplaced.ts'

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
      proof: answer.isProved ? answer.proof.kind : (known?.proof ?? ''),
      waitingFor: node === undefined ? 'its Node object does not exist' : (waitingFor.get(name) ?? ''),
    }
  })
}

/** What stands still for reasons that are not ours to remove: finalizers of others, attachments that nobody detaches. Told of, never forced. */
const stuckThings = (verdicts: readonly PodVerdict[], attachments: readonly RecordedAttachment[]): readonly string[] => [
  ...verdicts.flatMap((verdict) => (verdict.kind === 'stuck' ? [`pod ${fullName(verdict.pod)}: ${verdict.reason}`] : [])),
  ...attachments.filter(({ isLate }) => isLate).map(attachmentNote),
]

interface StatusParts extends Pick<FenceStatus, 'workloads' | 'nodes' | 'leases' | 'volumeAttachments' | 'unplaced'> {
  readonly stages: readonly Stage[]
  readonly verdicts: readonly PodVerdict[]
  /** Something else is still to come: attachments, the scheduler's word. */
  readonly isOpen: boolean
  /** A node is left alone though nothing says that it is none of this fence's. */
  readonly isOvertaken: boolean
}

/** The whole status to be written; a phase says whether anything is left to do or to wait for. */
export function nextStatus({ snapshot, order, isoTime }: PlanInput, parts: StatusParts): FenceStatus {
  const { recorded } = snapshot
  const { workloads, verdicts, stages } = parts
  const held = workloads.filter((workload) => workload.state === 'held').length
  const waiting = verdicts.filter((verdict) => verdict.kind === 'waiting' || verdict.kind === 'blocked').length
  const stuck = stuckThings(verdicts, parts.volumeAttachments)
  const acting =
    stages.some((stage) => stage.steps.length > 0) || workloads.some((workload) => workload.state === 'ordered') || parts.isOpen
  // A dry run acts on nothing, so it never gets further than having been written down.
  const phase = order.dryRun
    ? 'Recorded'
    : acting
      ? 'Acting'
      : waiting > 0 || stuck.length > 0 || parts.isOvertaken
        ? 'Waiting'
        : 'Finished'
  const vms = workloads.filter((workload) => workload.kind !== 'Pod')
  const running = vms.filter((workload) => workload.state === 'running').length
  return {
    ...recorded,
    phase,
    carriedOutBy: order.carriedOutBy,
    message: `${order.dryRun ? 'dry run, nothing is done: ' : ''}${String(running)} of ${String(vms.length)} VMs run elsewhere; ${String(waiting)} pods wait or are blocked; ${String(stuck.length)} stuck; ${String(parts.unplaced.length)} unplaced`,
    nodes: parts.nodes,
    workloads,
    leases: parts.leases,
    stuck,
    volumeAttachments: parts.volumeAttachments,
    unplaced: parts.unplaced.slice(0, unplacedShown),
    counts: {
      pods: verdicts.length,
      vms: vms.length,
      running,
      held,
      unplaced: parts.unplaced.length,
      volumeAttachments: parts.volumeAttachments.length,
    },
    startedAt: recorded.startedAt === '' ? isoTime : recorded.startedAt,
    finishedAt: phase === 'Finished' ? recorded.finishedAt || isoTime : '',
  }
}
