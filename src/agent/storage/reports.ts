/** What the others said of their replicas a moment ago. Pure. */
import { reportOf, type StorageEntry, type StorageReports } from '../../evidence/storage-report.ts'
import type { NodeId } from '../../protocol/ids.ts'
import { type Membership, memberOf } from '../../protocol/membership.ts'

/** A report that is older says nothing. */
export const REPORT_AGE_MS = 10_000

/** What a node says of its resources, in its present incarnation and epoch; undefined where it says nothing, or said it too long ago. */
export function reportedBy(
  reports: StorageReports,
  membership: Membership,
  node: NodeId,
  nowMs: number,
): readonly StorageEntry[] | undefined {
  const member = memberOf(membership, node)
  return member && reportOf(reports, node, member.incarnation, membership.epoch, nowMs, REPORT_AGE_MS)?.entries
}

/** Whether a node's complete report became another one than it was. */
export function isNewReport(before: StorageReports, after: StorageReports, node: NodeId): boolean {
  const was = before.complete.get(node)
  const is = after.complete.get(node)
  return was?.epoch !== is?.epoch || JSON.stringify(was?.entries) !== JSON.stringify(is?.entries)
}
