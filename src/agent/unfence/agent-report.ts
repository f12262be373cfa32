/** What a node's own agent says now, for the checks of an un-fence. Pure reading. */
import type { StorageEntry } from '../../evidence/storage-report.ts'
import type { AgentReport } from '../../failover/unfence/checks.ts'
import type { NodeId } from '../../protocol/ids.ts'
import { memberOf } from '../../protocol/membership.ts'
import type { State } from '../../protocol/state.ts'

/**
 * Undefined while the node is not heard in its present incarnation: what an earlier one said is no word of this one.
 *
 * @param entries what it says of its replicas; undefined where it says nothing of them
 */
export function agentReport(
  state: State,
  entries: readonly StorageEntry[] | undefined,
  node: NodeId,
  nowMs: number,
): AgentReport | undefined {
  const contact = state.process.contacts.get(node)
  const member = state.durable.membership && memberOf(state.durable.membership, node)
  if (!contact?.statement || contact.incarnation !== member?.incarnation || nowMs - contact.heardAtMs > state.timings.detectMs)
    return undefined
  const { killedEpoch } = contact.statement
  // One entry a connection: a replica resyncs from any one of its peers, and the dead ones among them say nothing against it.
  const resources =
    entries &&
    [...Map.groupBy(entries, ({ resource }) => resource)].map(([name, ends]) => ({
      name,
      role: ends.some(({ isPrimary }) => isPrimary) ? 'Primary' : 'Secondary',
      disk: ends.every(({ isClient }) => isClient)
        ? 'Diskless'
        : ends.every(({ ownUpToDate }) => ownUpToDate)
          ? 'UpToDate'
          : 'not UpToDate',
      isSyncTarget: ends.some(({ isConnected, ownUpToDate }) => isConnected && !ownUpToDate),
    }))
  return { killedUnderEpoch: killedEpoch >= 0 ? killedEpoch : undefined, resources }
}
