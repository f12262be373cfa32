/** Which fenced peers had stated freeze mode in the epoch before their fence, so that cutting them off is proof enough (docs/protocol/freeze-mode.md). Pure. */
import type { StorageEntry } from '../../evidence/storage-report.ts'
import type { NodeId } from '../../protocol/ids.ts'
import { epochBeforeFence, fencedNodes, type Member, memberOf, type Membership } from '../../protocol/membership.ts'
import type { FreezeStatements } from '../state/durable.ts'

/**
 * What is kept when `now` was learned: the last word, under `before`, of each peer that `now` has fenced since. It is kept with its epoch, for `before` is the
 * last epoch that *this* node knew: the peer may have been unlocked in one that it missed.
 *
 * @param reported what a peer said of its ends under `before`.
 */
export function keepStatements(
  kept: FreezeStatements,
  self: NodeId,
  now: Membership,
  before: Membership | null,
  reported: (peer: Member) => readonly StorageEntry[] | undefined,
): FreezeStatements {
  const fenced = new Set<string>(fencedNodes(now))
  const next = new Map<string, Map<string, number>>()
  for (const [resource, peers] of kept) next.set(resource, new Map([...peers].filter(([peer]) => fenced.has(peer))))
  for (const peer of before?.members ?? []) {
    if (before === null || !fenced.has(peer.node) || peer.standing === 'fenced') continue
    for (const { resource, peer: end, hasFreezeMode } of reported(peer) ?? [])
      if (hasFreezeMode && end === self) next.set(resource, (next.get(resource) ?? new Map<string, number>()).set(peer.node, before.epoch))
  }
  return next
}

/** The peers whose statement for this resource counts: made in the epoch before their last fence, or later. */
export function statedPeers(statements: FreezeStatements, membership: Membership, resource: string): ReadonlySet<string> {
  const peers = [...(statements.get(resource) ?? [])]
  return new Set(
    peers.flatMap(([peer, epoch]) =>
      memberOf(membership, peer as NodeId)?.standing === 'fenced' && epoch >= epochBeforeFence(membership, peer as NodeId) ? [peer] : [],
    ),
  )
}
