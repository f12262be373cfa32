/** What must be remembered of a replica from before a cut: DRBD forgets its peer's state the moment the connection drops. Pure. */
import type { Resource } from './model.ts'

export interface PeerMemory {
  /** At the last reading that saw the peer connected, every volume's own disk was UpToDate: whatever that peer had acknowledged is here. */
  readonly wasUpToDate: boolean
  /** When that was read; monotonic ms of this node, only for people. */
  readonly readAtMs: number
}

/**
 * Per peer's node name. To outlive a restart of the agent it belongs on disk before it is needed; `isSameMemory` says when it must be written.
 * A reboot of the node makes it worthless by itself: the disk then comes back Consistent, not UpToDate.
 */
export type ReplicaMemory = ReadonlyMap<string, PeerMemory>

/**
 * The memory after one more reading. A connection that is away keeps what was last seen of it; one that came back worse (a resync's target) is worse.
 *
 * @param mayTrust this node votes. Who is fenced, or is back and has no vote yet, may read "connected" of a peer that has cut it off and written on,
 * until its kernel's ping timeout: what it distrusts stays distrusted until it votes.
 */
export function remember(memory: ReplicaMemory, resource: Resource, readAtMs: number, mayTrust = true): ReplicaMemory {
  const wasUpToDate = resource.volumes.length > 0 && resource.volumes.every(({ diskState }) => diskState === 'UpToDate')
  const next = new Map<string, PeerMemory>()
  for (const { peer, connectionState } of resource.connections) {
    const known = memory.get(peer)
    if (connectionState === 'Connected') next.set(peer, { wasUpToDate: wasUpToDate && (mayTrust || known?.wasUpToDate === true), readAtMs })
    else if (known !== undefined) next.set(peer, known)
  }
  return next
}

/** Whether nothing changed but the times: then there is nothing to write. */
export const isSameMemory = (a: ReplicaMemory, b: ReplicaMemory): boolean =>
  a.size === b.size && [...a].every(([peer, { wasUpToDate }]) => b.get(peer)?.wasUpToDate === wasUpToDate)

/** For a node that learns its own fence: others have written since, so nothing it remembers says that its replicas are the newest. */
export const distrust = (memory: ReplicaMemory): ReplicaMemory =>
  new Map([...memory].map(([peer, { readAtMs }]) => [peer, { wasUpToDate: false, readAtMs }]))
