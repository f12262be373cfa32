/** What a node's own agent says now, for the checks of an un-fence. Pure reading. */
import type { StorageEntry } from '../evidence/storage-report.ts'
import type { AgentReport } from '../failover/unfence.ts'
import type { NodeId } from '../protocol/ids.ts'
import { memberOf } from '../protocol/membership.ts'
import type { State } from '../protocol/state.ts'

/** Undefined while the node is not heard in its present incarnation: what an earlier one said is no word of this one. */
export function agentReport(state: State, entries: readonly StorageEntry[], node: NodeId, nowMs: number): AgentReport | undefined {
  const contact = state.contacts.get(node)
  const member = state.durable.membership && memberOf(state.durable.membership, node)
  if (!contact?.statement || contact.incarnation !== member?.incarnation || nowMs - contact.heardAtMs > state.timings.detectMs)
    return undefined
  const { killedEpoch } = contact.statement
  const resources = entries.map((entry) => ({
    name: entry.resource,
    role: entry.isPrimary ? 'Primary' : 'Secondary',
    disk: entry.ownUpToDate ? 'UpToDate' : 'not UpToDate',
    isSyncTarget: entry.isConnected && !entry.ownUpToDate,
  }))
  return { killedUnderEpoch: killedEpoch >= 0 ? killedEpoch : undefined, resources }
}
