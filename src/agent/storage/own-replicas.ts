/** What this node says of its own replicas: to the others, and to its protocol as evidence. Pure. */
import type { DrbdSnapshot, KnownDrbd } from '../../drbd/drbdsetup.ts'
import { judgeFreezeMode } from '../../drbd/freeze-mode.ts'
import { type Connection, isConnectedUpToDate, type Resource } from '../../drbd/model.ts'
import type { StorageEntry } from '../../evidence/storage-report.ts'
import type { NodeId, Room } from '../../protocol/ids.ts'
import { fencedNodes, type Membership, memberOf } from '../../protocol/membership.ts'
import type { KeptReplicas } from '../state/durable.ts'
import { statedPeers } from './freeze-statements.ts'

/** What was read too long ago is as unknown as what was never read. */
export function freshSnapshot(snapshot: DrbdSnapshot, readEveryMs: number, nowMs: number): DrbdSnapshot {
  if (snapshot.kind !== 'known' || nowMs - snapshot.readAtMs < 3 * readEveryMs + 1_000) return snapshot
  return { kind: 'unknown', reason: `read ${nowMs - snapshot.readAtMs} ms ago` }
}

/** Whether freeze mode is confirmed at this end of a resource. */
export function hasFreezeMode(snapshot: KnownDrbd, resource: Resource, ownRoom: Room, membership: Membership | null): boolean {
  return judgeFreezeMode({
    resource,
    shown: snapshot.shown.find((shown) => shown.name === resource.name),
    ownRoom,
    peerRoom: (peer) => (membership ? memberOf(membership, peer as NodeId)?.room : undefined),
    usermodeHelper: snapshot.usermodeHelper,
  }).isOn
}

export interface OwnReplicas {
  /** Read a moment ago. */
  readonly snapshot: DrbdSnapshot
  readonly membership: Membership | null
  readonly ownRoom: Room
  readonly kept: KeptReplicas
  /** Whether the plan of a resource has come to its end: then it is free to be written. */
  readonly isDone: (resource: string) => boolean
}

/** Undefined while nobody knows: an empty report would say that there is no replica here. */
export function ownEntries({ snapshot, membership, ownRoom, kept, isDone }: OwnReplicas): readonly StorageEntry[] | undefined {
  if (snapshot.kind === 'absent') return []
  if (snapshot.kind === 'unknown' || !membership) return undefined
  const fenced = new Set<string>(fencedNodes(membership))
  return snapshot.resources.flatMap((resource): StorageEntry[] => {
    const common = replicaOf(resource, hasFreezeMode(snapshot, resource, ownRoom, membership))
    if (resource.connections.length === 0)
      return [{ ...common, peer: '', isConnected: false, peerUpToDate: false, isUnlocked: false, isCutByForce: false }]
    const touched = kept.touched.get(resource.name)
    const stated = statedPeers(kept.stated, membership, resource.name)
    return resource.connections.map((connection) => ({
      ...common,
      ...endOf(connection),
      isUnlocked: fenced.has(connection.peer) && isDone(resource.name),
      isCutByForce:
        fenced.has(connection.peer) &&
        touched?.has(connection.peer) === true &&
        stated.has(connection.peer) &&
        connection.connectionState === 'StandAlone',
    }))
  })
}

type ReplicaPart = Pick<StorageEntry, 'resource' | 'ownUpToDate' | 'isPrimary' | 'isFrozen' | 'hasFreezeMode' | 'isClient'>

const replicaOf = ({ name, volumes, role, suspended }: Resource, holds: boolean): ReplicaPart => ({
  resource: name,
  ownUpToDate: volumes.length > 0 && volumes.every(({ diskState }) => diskState === 'UpToDate'),
  isPrimary: role === 'Primary',
  isFrozen: suspended.fencing,
  hasFreezeMode: holds,
  isClient: volumes.length > 0 && volumes.every(({ isClient }) => isClient),
})

const endOf = (connection: Connection): Pick<StorageEntry, 'peer' | 'isConnected' | 'peerUpToDate'> => ({
  peer: connection.peer,
  isConnected: connection.connectionState === 'Connected',
  peerUpToDate: isConnectedUpToDate(connection),
})

export interface StorageEvidence {
  /** To whom some DRBD connection is up. */
  readonly connected: readonly NodeId[]
  /** Whether every replica here is UpToDate and connected to all who are not fenced. */
  readonly isInSync: boolean
}

/** @param snapshot read a moment ago */
export function storageEvidence(snapshot: DrbdSnapshot, membership: Membership | null): StorageEvidence {
  if (snapshot.kind === 'absent') return { connected: [], isInSync: true }
  if (snapshot.kind === 'unknown') return { connected: [], isInSync: false }
  const isExpected = (peer: string): boolean => {
    const standing = membership ? memberOf(membership, peer as NodeId)?.standing : undefined
    return standing !== undefined && standing !== 'fenced'
  }
  const volumes = snapshot.resources.flatMap((resource) => resource.volumes)
  const connections = snapshot.resources.flatMap((resource) => resource.connections)
  const connected = connections.filter(({ connectionState }) => connectionState === 'Connected').map(({ peer }) => peer)
  return {
    connected: [...new Set(connected)] as NodeId[],
    isInSync:
      volumes.every(({ diskState, isClient }) => diskState === 'UpToDate' || isClient) &&
      connections.every(({ peer, connectionState }) => connectionState === 'Connected' || !isExpected(peer)),
  }
}
