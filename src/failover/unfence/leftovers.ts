/** Our taints on nodes that no fence has any more: found, and taken away. */
import type { KubeClient } from '../../kubernetes/client.ts'
import { nodeView, paths } from '../../kubernetes/resources.ts'
import { nodeId, type NodeId } from '../../protocol/ids.ts'
import { memberOf, type Membership } from '../../protocol/membership.ts'
import { fencedEpoch, isOurs } from '../fence/taints.ts'
import type { FailoverClock } from '../run/clock.ts'
import { finishUnfence } from './unfence.ts'

/** Not known: of a fence that this agent has yet to learn, or of no epoch at all. */
export type LeftOver =
  | { readonly node: NodeId; readonly isKnown: true; readonly fencedIn: number }
  | { readonly node: NodeId; readonly isKnown: false; readonly fencedIn: number | undefined }

/**
 * Whoever began their un-fence died after the choice, or the API server was set back to before it. A taint of an epoch that is not known here is left
 * alone: it is of a fence that this agent has yet to learn.
 */
export async function takeAwayLeftovers(options: {
  readonly client: KubeClient
  readonly clock: FailoverClock
  readonly membership: Membership
  /** Somebody is about it already. */
  readonly isUnderWay: (node: NodeId) => boolean
  /** Called for each that is found, before it is taken away or left alone. */
  readonly onFound: (found: LeftOver) => void
  readonly signal: AbortSignal
}): Promise<void> {
  const { client, clock, membership, signal } = options
  const { items } = await client.list(paths.nodes, { project: nodeView, signal })
  for (const { name, taints } of items) {
    const node = nodeId(name)
    const standing = memberOf(membership, node)?.standing
    if (standing === undefined || standing === 'fenced' || options.isUnderWay(node) || !taints.some(isOurs)) continue
    const fencedIn = fencedEpoch(taints)
    if (fencedIn === undefined || fencedIn > membership.epoch) {
      options.onFound({ node, fencedIn, isKnown: false })
      continue
    }
    options.onFound({ node, fencedIn, isKnown: true })
    await finishUnfence({ fencedIn, nodes: [node], by: 'left over', client, clock, epoch: membership.epoch, overridden: [], signal })
  }
}
