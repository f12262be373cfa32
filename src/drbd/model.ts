/** What roomfence knows of DRBD: one small typed model for `status --json`, `events2` and `show --json` alike. Pure. */

export const connectionStates = [
  'StandAlone',
  'Disconnecting',
  'Unconnected',
  'Timeout',
  'BrokenPipe',
  'NetworkFailure',
  'ProtocolError',
  'TearDown',
  'Connecting',
  'Connected',
] as const
export type ConnectionState = (typeof connectionStates)[number]

export const replicationStates = [
  'Off',
  'Established',
  'StartingSyncS',
  'StartingSyncT',
  'WFBitMapS',
  'WFBitMapT',
  'WFSyncUUID',
  'SyncSource',
  'SyncTarget',
  'VerifyS',
  'VerifyT',
  'PausedSyncS',
  'PausedSyncT',
  'Ahead',
  'Behind',
] as const
export type ReplicationState = (typeof replicationStates)[number]

export const diskStates = [
  'Diskless',
  'Attaching',
  'Detaching',
  'Failed',
  'Negotiating',
  'Inconsistent',
  'Outdated',
  'DUnknown',
  'Consistent',
  'UpToDate',
] as const
export type DiskState = (typeof diskStates)[number]

export const roles = ['Unknown', 'Primary', 'Secondary'] as const
/** `Unknown` is only ever a peer's. DRBD forgets a peer's role the moment the connection drops. */
export type Role = (typeof roles)[number]

/** Why I/O is suspended. Several reasons may hold at once; `resume-io` lifts only `fencing` (and `user`). */
export interface Suspended {
  readonly user: boolean
  readonly noData: boolean
  readonly fencing: boolean
  readonly quorum: boolean
}

export interface Volume {
  readonly volume: number
  readonly minor: number
  readonly diskState: DiskState
  /** Diskless on purpose (`client:yes`), as a tie-breaker is; a replica that lost its disk is not. */
  readonly isClient: boolean
  /** Always true on a resource with `quorum off`: it then means nothing. */
  readonly hasQuorum: boolean
  /** Requests from above that are not completed; undefined without `--statistics`. */
  readonly upperPending: number | undefined
}

export interface PeerVolume {
  readonly volume: number
  readonly replicationState: ReplicationState
  readonly peerDiskState: DiskState
  readonly isPeerClient: boolean
  readonly resyncSuspended: string
  /** KiB; undefined without `--statistics`. */
  readonly outOfSyncKib: number | undefined
}

export interface Connection {
  /** The peer's node name. */
  readonly peer: string
  readonly peerNodeId: number
  readonly connectionState: ConnectionState
  readonly peerRole: Role
  readonly volumes: readonly PeerVolume[]
}

/** One resource as its own node sees it. `volumes` and `connections` are ordered by number. */
export interface Resource {
  readonly name: string
  readonly role: Role
  readonly suspended: Suspended
  /** After `secondary --force` until the last opener has closed the device: somebody still holds it open. */
  readonly forceIoFailures: boolean
  readonly volumes: readonly Volume[]
  readonly connections: readonly Connection[]
}

export type DrbdInputSource = 'status' | 'events2' | 'show'

/**
 * Input that cannot be understood, or contradicts what came before it. The state of DRBD is then unknown:
 * read it again, and never act on what was parsed so far.
 */
export class DrbdInputError extends Error {
  readonly code = 'drbd-input'
  readonly source: DrbdInputSource
  /** Path of the field (`[0].connections[1].peer-role`) or the line that was refused. */
  readonly where: string
  readonly seen: string

  constructor(source: DrbdInputSource, where: string, seen: unknown, allowed: string, cause?: unknown) {
    const shown = (typeof seen === 'string' ? seen : (JSON.stringify(seen) ?? 'nothing')).slice(0, 200)
    super(`drbdsetup ${source}: ${where.slice(0, 300)} is ${shown}, but must be ${allowed}`, { cause })
    this.name = 'DrbdInputError'
    this.source = source
    this.where = where
    this.seen = shown
  }
}

export const byVolume = (a: { readonly volume: number }, b: { readonly volume: number }): number => a.volume - b.volume
export const byPeerNodeId = (a: Connection, b: Connection): number => a.peerNodeId - b.peerNodeId

/** Replication of this volume reaches the peer's disk now, and that disk is as good as ours. */
export const isConnectedUpToDate = ({ connectionState, volumes }: Connection): boolean =>
  connectionState === 'Connected' && volumes.length > 0 && volumes.every(({ peerDiskState }) => peerDiskState === 'UpToDate')

/** The peer has no disk for any volume, on purpose: a tie-breaker or a diskless user, never a replica. */
export const isDisklessPeer = ({ volumes }: Connection): boolean => volumes.length > 0 && volumes.every(({ isPeerClient }) => isPeerClient)
