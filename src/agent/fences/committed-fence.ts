/** The order that the failover is given for an epoch's fence, from the membership that was learned. Pure. */
import { fenceId } from '../../failover/fence/names.ts'
import type { CommittedFence } from '../../failover/fence/committed-fence.ts'
import type { Epoch, NodeId } from '../../protocol/ids.ts'
import type { Membership } from '../../protocol/membership.ts'

/** Why an epoch fences whom it fences; undefined for an epoch that fences nobody. */
export function fenceReason({ cause }: Membership): string | undefined {
  if (cause.kind === 'fence') return cause.reason
  return cause.kind === 'forced' ? `${cause.by} confirmed ${cause.nodes.join(', ')} dead` : undefined
}

/** Epochs whose fences still stand. */
export const fencingEpochs = ({ members }: Membership): ReadonlySet<number> =>
  new Set(members.filter(({ standing }) => standing === 'fenced').map(({ lastFence }) => Number(lastFence)))

export function fenceOrder(
  { members, clusterId }: Membership,
  epoch: number,
  about: { readonly reason: string | undefined; readonly carriedOutBy: NodeId; readonly isDryRun: boolean },
): CommittedFence {
  const nodes = members.filter(({ standing, lastFence }) => standing === 'fenced' && lastFence === epoch)
  const isWhole = (room: string): boolean => members.every((member) => member.room !== room || member.standing === 'fenced')
  return {
    id: fenceId(epoch),
    epoch: epoch as Epoch,
    clusterId,
    nodes: nodes.map(({ node }) => node),
    rooms: [...new Set(nodes.map(({ room }) => room))].filter(isWhole),
    reason: about.reason ?? 'silent on every path',
    carriedOutBy: about.carriedOutBy,
    dryRun: about.isDryRun,
  }
}
