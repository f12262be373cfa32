/** Whether a node may come back: the checks of an un-fence, each with its reason and what to do (docs/protocol/operator.md). Pure. */
import type { NodeId } from '../../protocol/ids.ts'
import { flappingNote } from '../brakes/flapping.ts'
import type { RecordedFlapping } from '../fence/fence.ts'

/** What the node's own agent says in its present incarnation. */
export interface AgentReport {
  /** It killed its workloads under this epoch; a pause is no kill. */
  readonly killedUnderEpoch: number | undefined
  /** Undefined: it does not tell of its DRBD resources, which is not to have none. */
  readonly resources:
    | readonly { readonly name: string; readonly role: string; readonly disk: string; readonly isSyncTarget: boolean }[]
    | undefined
}

export interface UnfenceFacts {
  readonly node: NodeId
  readonly exists: boolean
  readonly isReady: boolean
  /** The kubelet has renewed its Lease while we looked: what the API says of it is not from before an outage. */
  readonly isFresh: boolean
  readonly fencedByEpoch: number
  readonly report: AgentReport | undefined
  /** Pods of before the fence that should have been cleared: not those that were held or opted out, which belong here. */
  readonly oldPods: readonly string[]
  readonly volumeAttachments: readonly string[]
  /** It was fenced and un-fenced not long before, and its back-off is not over yet. */
  readonly flapping: RecordedFlapping | undefined
}

export type UnfenceCheck = 'exists' | 'ready' | 'killed' | 'old-pods' | 'volume-attachments' | 'storage' | 'flapping'

export interface FailedCheck {
  readonly node: NodeId
  readonly check: UnfenceCheck
  readonly reason: string
  readonly nextStep: string
}

export interface UnfenceVerdict {
  readonly isAllowed: boolean
  readonly refusedBy: readonly FailedCheck[]
  /** Checks that failed and that `force` overrode: recorded. */
  readonly overridden: readonly FailedCheck[]
}

/** An un-fence by force overrides everything but the one check that tells whether old workloads may still be alive. */
export function checkUnfence(facts: readonly UnfenceFacts[], isForced: boolean): UnfenceVerdict {
  const failed = facts.flatMap(failedChecks)
  const refusedBy = failed.filter((check) => !isForced || check.check === 'killed')
  return { isAllowed: refusedBy.length === 0, refusedBy, overridden: failed.filter((check) => !refusedBy.includes(check)) }
}

function failedChecks(facts: UnfenceFacts): readonly FailedCheck[] {
  const { node, report } = facts
  const failed: FailedCheck[] = []
  const fail = (check: UnfenceCheck, reason: string, nextStep: string): void => {
    failed.push({ node, check, reason, nextStep })
  }
  if (!facts.exists) fail('exists', 'its Node object does not exist', 'start its kubelet, or remove the node from the membership')
  else if (!facts.isReady) fail('ready', 'it is not Ready', 'wait for its kubelet, or look at the node conditions')
  else if (!facts.isFresh)
    fail('ready', 'its kubelet has not renewed its Lease while we looked, so Ready may be old', 'look at its kubelet')
  const killed = killProblem(facts)
  if (killed !== undefined) fail('killed', killed, 'start its agent, which kills what it still runs and says so, also after a reboot')
  if (facts.oldPods.length > 0)
    fail(
      'old-pods',
      `it holds ${list(facts.oldPods)} of before the fence`,
      'wait until they are cleared, or look at why they are not in the Fence object',
    )
  if (facts.volumeAttachments.length > 0) {
    fail(
      'volume-attachments',
      `${list(facts.volumeAttachments)} still attached to it`,
      'wait for the attach-detach controller and the CSI attacher',
    )
  }
  const storage = storageProblem(report)
  if (storage !== undefined) fail('storage', storage, 'look at drbdsetup status on the node')
  const { flapping } = facts
  if (flapping !== undefined)
    fail('flapping', flappingNote(flapping), 'find out why it was lost again; the request is taken then, or at once with "force"')
  return failed
}

/**
 * Only the node's own word of its kill counts. Another boot id is none: the boot that was recorded may be older than one that ran under a permit until
 * the fence (docs/protocol/proofs.md).
 */
function killProblem({ report, fencedByEpoch }: UnfenceFacts): string | undefined {
  if (report === undefined) return 'its agent does not report, so nobody knows whether it killed what it ran'
  const { killedUnderEpoch } = report
  if (killedUnderEpoch === undefined) return `its agent has not killed its workloads under epoch ${String(fencedByEpoch)}`
  return killedUnderEpoch >= fencedByEpoch
    ? undefined
    : `its agent killed its workloads under epoch ${String(killedUnderEpoch)}, before the fence of epoch ${String(fencedByEpoch)}`
}

function storageProblem(report: AgentReport | undefined): string | undefined {
  if (report?.resources === undefined) return 'its agent does not report the state of its DRBD resources'
  const primary = report.resources.filter((resource) => resource.role !== 'Secondary')
  if (primary.length > 0) return `DRBD ${list(primary.map(({ name, role }) => `${name} (${role})`))} not Secondary`
  const behind = report.resources.filter(({ disk, isSyncTarget }) => disk !== 'UpToDate' && disk !== 'Diskless' && !isSyncTarget)
  return behind.length === 0
    ? undefined
    : `DRBD ${list(behind.map(({ name, disk }) => `${name} (${disk})`))} neither in sync nor resyncing as target`
}

const list = (names: readonly string[]): string =>
  `${names.slice(0, 5).join(', ')}${names.length > 5 ? ` and ${String(names.length - 5)} more` : ''}`
