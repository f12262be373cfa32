/**
 * The plan of a fence on the cluster: what may be done now, in which order, and why (docs/failover.md, "Executing the fence"). Pure.
 *
 * It is made anew after every change from the cluster as it is and the Fence object alone, so it is idempotent, and any agent can go on from any point.
 */
import type { FenceStatus } from '../fence/fence.ts'
import { followAttachments } from './attachments.ts'
import { classifyPods } from './classify.ts'
import { type FollowedVms, followVms } from './follow-vms.ts'
import { mergeLeases } from './leases.ts'
import { outOfServiceNodes } from './out-of-service.ts'
import type { AgeMs, PlanInput } from './plan-input.ts'
import { nextStatus, nodeRecords } from './plan-status.ts'
import type { PodVerdict } from './pod-verdict.ts'
import { recordWorkloads } from './record.ts'
import { stagesOf } from './stages.ts'
import type { Stage } from './steps.ts'
import { unplacedWorkloads } from './unplaced.ts'
import { judgePods, overtakenNodes } from './verdicts.ts'
import { vmWaves } from './waves.ts'

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
  readonly unplaced: FollowedVms['unplaced']
}

/** The longest wait, once all is done, for replacements that no node takes. */
const longestSettleMs = 2_000

export function planFailover(given: PlanInput): Plan {
  const input = withoutUnfenced(given)
  const { snapshot, config } = input
  const overtaken = overtakenNodes(input)
  const pods = classifyPods(snapshot, config)
  const verdicts = judgePods(pods, input, overtaken)
  const subjects = new Set<string>()
  const ageMs: AgeMs = (subject) => {
    subjects.add(subject)
    return input.nowMs - (input.sinceMs.get(subject) ?? input.nowMs)
  }
  const outOfService = outOfServiceNodes(input, verdicts, overtaken, ageMs)
  // Both taints come before any delete, and the order of deletes is one for all nodes: so all wait for that moment.
  const cleared = outOfService.dueInMs === undefined ? verdicts : []
  const waves = vmWaves(cleared, snapshot.recorded.workloads, config, ageMs)
  const deletedNow = new Set(waves.flat().map((verdict) => verdict.pod.uid))
  const followed = followVms(input, recordWorkloads(input, pods, verdicts, deletedNow), ageMs)
  const leases = mergeLeases(input)
  const { eligible } = outOfService
  const stages = stagesOf(input, { overtaken, verdicts, eligible, cleared, waves, leases, vmSteps: followed.steps })
  const attachments = followAttachments(input, verdicts, ageMs)
  const unplaced = unplacedWorkloads(input, ageMs)
  const reached = nextStatus(input, {
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
  const settlesInMs = settlingMs(reached, input, ageMs)
  const readyInMs = verdicts.flatMap((verdict) => (verdict.kind === 'waiting' ? [verdict.readyInMs] : []))
  return {
    stages,
    status: settlesInMs === undefined ? reached : { ...reached, phase: 'Acting', finishedAt: '' },
    subjects,
    lookAgainInMs: soonest([...readyInMs, settlesInMs, outOfService.dueInMs]),
    verdicts,
    unplaced: followed.unplaced,
  }
}

/** A controller needs a moment to replace what was cleared, and the scheduler one more to say that it has no node for it. */
function settlingMs({ phase }: FenceStatus, { snapshot, order, config }: PlanInput, ageMs: AgeMs): number | undefined {
  const isEnding = phase === 'Finished' && snapshot.recorded.phase !== 'Finished'
  if (!isEnding || order.dryRun) return undefined
  const leftMs = Math.min(longestSettleMs, config.lookEveryMs) - ageMs('settled')
  return leftMs > 0 ? leftMs : undefined
}

function soonest(waitsMs: readonly (number | undefined)[]): number | undefined {
  const known = waitsMs.flatMap((waitMs) => waitMs ?? [])
  return known.length === 0 ? undefined : Math.max(0, Math.min(...known))
}

/** A node that was un-fenced is none of this fence's any more, whatever the order says. */
function withoutUnfenced(input: PlanInput): PlanInput {
  const left = new Set(input.snapshot.recorded.unfenced.map((entry) => entry.node))
  if (left.size === 0) return input
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
