/** The states of the demo's stand-in for DRBD, and the rules of the real one (9.2.18, as recorded) about who may be promoted and who is overwritten. */

type Role = 'Primary' | 'Secondary'
export type DiskState = 'Inconsistent' | 'Outdated' | 'Consistent' | 'UpToDate'
type PeerDiskState = DiskState | 'DUnknown'
type ConnectionState =
  | 'StandAlone'
  | 'Disconnecting'
  | 'Unconnected'
  | 'BrokenPipe'
  | 'NetworkFailure'
  | 'TearDown'
  | 'Connecting'
  | 'Connected'
type ReplicationState = 'Off' | 'Established' | 'SyncSource' | 'SyncTarget'
export type Fencing = 'dont-care' | 'resource-and-stonith'

/** One replica of a two-replica resource, as its node's kernel is configured with it. */
export interface ResourceConfig {
  readonly name: string
  readonly minor: number
  readonly nodeId: number
  readonly peer: { readonly nodeId: number; readonly name: string }
  /** Where the peer is reached; of two replicas exactly one dials, the other listens. */
  readonly dial?: { readonly host: string; readonly port: number }
  /** Freeze mode: `fencing resource-and-stonith`. */
  readonly freeze: boolean
  readonly allowTwoPrimaries: boolean
  readonly onSuspendedPrimaryOutdated: 'disconnect' | 'force-secondary'
  readonly rrConflict: 'disconnect' | 'retry-connect'
  readonly pingIntMs: number
  readonly pingTimeoutMs: number
  readonly connectIntMs: number
  /** How long a resync shows as one. The log is copied at once; real disks take their time. */
  readonly resyncMs: number
}

/** Generation identifiers: `current` changes when data diverges from the peer, `bitmap` is the generation that the peer still has. */
export interface Generation {
  readonly current: string
  readonly bitmap: string
  readonly history: readonly string[]
}

export interface ResourceState {
  readonly role: Role
  readonly disk: DiskState
  readonly suspendedFencing: boolean
  readonly forceIoFailures: boolean
  readonly connection: ConnectionState
  readonly peerRole: Role | 'Unknown'
  readonly peerDisk: PeerDiskState
  readonly replication: ReplicationState
  readonly pathEstablished: boolean
  readonly fencing: Fencing
  readonly openers: number
  /** Writes that wait: for the peer, or for the end of a freeze. */
  readonly pendingWrites: number
  readonly outOfSyncWrites: number
  readonly writtenWrites: number
  readonly sentWrites: number
  readonly receivedWrites: number
}

/** What each side tells the other when they meet. */
export interface HandshakeSide {
  readonly generation: Generation
  readonly role: Role
  readonly disk: DiskState
  readonly suspended: boolean
  readonly crashedPrimary: boolean
  readonly outOfSyncWrites: number
  readonly records: number
  readonly digest: string
  readonly discardMyData: boolean
}

export type HandshakeVerdict =
  | { readonly kind: 'join'; readonly sync: 'none' | 'source' | 'target' }
  /** A frozen Primary meets a newer generation that wrote nothing: it is thawed, its writes are acknowledged, then erased (recording 14a). */
  | { readonly kind: 'hole' }
  /** This side (`target`) or the other one would be overwritten while Primary. */
  | { readonly kind: 'primaryIsTarget'; readonly mine: boolean; readonly suspended: boolean }
  | { readonly kind: 'splitBrain' }

const knows = (generation: Generation, other: string): boolean => generation.bitmap === other || generation.history.includes(other)

/** Which of two replicas holds the newer data, by generation alone. */
function compareGenerations(mine: Generation, peer: Generation): 'equal' | 'newer' | 'older' | 'unrelated' {
  if (mine.current === peer.current) return 'equal'
  const peerIsOlder = knows(mine, peer.current)
  const mineIsOlder = knows(peer, mine.current)
  if (peerIsOlder === mineIsOlder) return 'unrelated'
  return peerIsOlder ? 'newer' : 'older'
}

function syncDirection(mine: HandshakeSide, peer: HandshakeSide): 'none' | 'source' | 'target' | 'unrelated' {
  if (mine.discardMyData !== peer.discardMyData) return mine.discardMyData ? 'target' : 'source'
  const order = compareGenerations(mine.generation, peer.generation)
  if (order === 'unrelated') return 'unrelated'
  if (order === 'newer') return 'source'
  if (order === 'older') return 'target'
  if ((mine.disk === 'Inconsistent') !== (peer.disk === 'Inconsistent')) return mine.disk === 'Inconsistent' ? 'target' : 'source'
  if (mine.digest === peer.digest) return 'none'
  // Same generation, different content: writes that were in flight. The Primary, or who crashed as one, has them.
  if (mine.role !== peer.role) return mine.role === 'Primary' ? 'source' : 'target'
  if (mine.crashedPrimary !== peer.crashedPrimary) return mine.crashedPrimary ? 'source' : 'target'
  if (mine.records !== peer.records) return mine.records > peer.records ? 'source' : 'target'
  return mine.digest > peer.digest ? 'source' : 'target'
}

/** What happens when two replicas meet; the other side comes to the mirrored verdict. */
export function judgeHandshake(mine: HandshakeSide, peer: HandshakeSide, allowTwoPrimaries: boolean): HandshakeVerdict {
  const sync = syncDirection(mine, peer)
  if (sync === 'unrelated') return { kind: 'splitBrain' }
  const target = sync === 'target' ? mine : sync === 'source' ? peer : undefined
  const diverged = compareGenerations(mine.generation, peer.generation) !== 'equal'
  if (target !== undefined && target.role === 'Primary' && diverged) {
    if (target.suspended && mine.outOfSyncWrites === 0 && peer.outOfSyncWrites === 0) {
      return sync === 'target' ? { kind: 'hole' } : { kind: 'join', sync }
    }
    return { kind: 'primaryIsTarget', mine: sync === 'target', suspended: target.suspended }
  }
  if (mine.role === 'Primary' && peer.role === 'Primary' && !allowTwoPrimaries) return { kind: 'splitBrain' }
  return { kind: 'join', sync }
}

/**
 * Whether a handshake holds although this side is no longer what it told the peer. A Primary that writes changes with each record, so on a slow
 * machine no handshake would ever end if it had to stand still. Changed data are no harm where both sides come to the same verdict as before and
 * this side's data stay: they are copied as they are when the sides join.
 */
export function holdsHandshake(told: HandshakeSide, now: HandshakeSide, peer: HandshakeSide, allowTwoPrimaries: boolean): boolean {
  if (JSON.stringify(told) === JSON.stringify(now)) return true
  const verdict = judgeHandshake(now, peer, allowTwoPrimaries)
  const isOverwritten = verdict.kind === 'hole' || (verdict.kind === 'join' && verdict.sync !== 'source')
  return !isOverwritten && JSON.stringify(verdict) === JSON.stringify(judgeHandshake(told, peer, allowTwoPrimaries))
}

export interface Refusal {
  readonly code: number
  readonly text: string
}

/** Why this replica cannot become Primary now, as the kernel puts it; undefined when nothing forbids it. */
export function promotionRefusal(state: ResourceState, allowTwoPrimaries: boolean): Refusal | undefined {
  if (state.connection === 'Connected' && state.peerRole === 'Primary' && !allowTwoPrimaries) {
    return { code: -1, text: 'Multiple primaries not allowed by config' }
  }
  if (state.forceIoFailures) return { code: -12, text: 'Device is held open by someone' }
  if (state.disk === 'Inconsistent' || state.disk === 'Outdated') return { code: -2, text: 'Need access to UpToDate data' }
  if (state.connection !== 'Connected') {
    const peerIsHarmless = state.peerDisk === 'Outdated' || state.peerDisk === 'Inconsistent'
    if (state.fencing === 'resource-and-stonith' && !peerIsHarmless) {
      return { code: -7, text: 'Refusing to be Primary while peer is not outdated' }
    }
  } else if (state.disk === 'Consistent') return { code: -2, text: 'Need access to UpToDate data' }
  return undefined
}

/** What events2 claims. It knows nothing of freeze mode, so it says yes where an open is refused (recorded; readers must not believe it). */
export function claimsMayPromote(state: ResourceState): boolean {
  return state.role === 'Secondary' && state.disk === 'UpToDate' && state.peerRole !== 'Primary'
}

export function promotionScore(state: ResourceState): number {
  if (state.disk === 'UpToDate') return 10_101 + (state.peerDisk === 'UpToDate' ? 1 : 0)
  if (state.disk === 'Inconsistent') return state.peerDisk === 'UpToDate' ? 10_001 : 0
  return state.peerDisk === 'UpToDate' ? 1 : 0
}
