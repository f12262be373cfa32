/** The survivor's side of one DRBD resource: next command after a committed fence, and on the way back (docs/protocol/freeze-mode.md). Pure. */
import type { DrbdCommand, NextStep } from './commands.ts'
import { optionsOf } from './freeze-mode.ts'
import type { ReplicaMemory } from './memory.ts'
import { type Connection, isConnectedUpToDate, isDisklessPeer, type Resource, type Volume } from './model.ts'
import type { ShownConnection, ShownResource } from './show.ts'

/** Everything the plan depends on. Sets hold node names. */
export interface SurvivorView {
  /** As read a moment ago, and again after each command: exit codes lie. */
  readonly resource: Resource
  readonly shown: ShownResource | undefined
  /** Nodes in a *committed* fence of the newest membership that this node has learned. Nothing else ever unlocks. */
  readonly fenced: ReadonlySet<string>
  /** Fenced nodes whose un-fence has been asked for and whose checks have come as far as the storage. */
  readonly rejoining: ReadonlySet<string>
  /** Nodes that said, in the epoch before the fence, that freeze mode holds at their end for this resource. */
  readonly statedFreezeMode: ReadonlySet<string>
  /** Nodes for which another proof holds: timed, power, killed or human (docs/protocol/proofs.md). */
  readonly provedStopped: ReadonlySet<string>
  /** Nodes whose role for this resource is confirmed Secondary *since the fence*, or that have rebooted since. */
  readonly confirmedSecondary: ReadonlySet<string>
  /** Peers that this agent has disconnected or unlocked, written down before it did so. Other StandAlone connections are an administrator's. */
  readonly touched: ReadonlySet<string>
  readonly memory: ReplicaMemory
  /** Unfenced nodes that said that their own replica was UpToDate when they were last connected to the fenced ones: a diskless survivor depends on them. */
  readonly goodReplicas: ReadonlySet<string>
  /** Until then a lost Primary may still answer reads (its ping-int + ping-timeout since the cut); undefined: stale reads don't matter. */
  readonly staleReadsUntilMs: number | undefined
  readonly nowMs: number
}

/**
 * The next step on a node that is *not* fenced. It stays right to ask when all is done: a reconnect that nobody here ordered (`drbdadm adjust`) is
 * undone while the fence stands, and a virtual machine that restarts finds its device unlocked.
 */
export function planSurvivor(view: SurvivorView): NextStep {
  const lost = view.resource.connections.filter(({ peer }) => view.fenced.has(peer) && !view.rejoining.has(peer))
  if (lost.length > 0) {
    const step = planTakeover(view, lost)
    if (step.kind !== 'done') return step
  }
  const returning = view.resource.connections.filter(({ peer }) => view.touched.has(peer) && !lost.some((one) => one.peer === peer))
  for (const connection of returning) {
    const step = planRejoin(view, connection)
    if (step.kind !== 'done') return step
  }
  return {
    kind: 'done',
    outcome: lost.length > 0 ? 'the lost peers are disconnected and the volume is free to be written here' : 'nothing is locked',
  }
}

function planTakeover(view: SurvivorView, lost: readonly Connection[]): NextStep {
  const { resource } = view
  // Before any doubt about the data here: a node that restarted meanwhile would let a frozen loser in, which then thaws.
  for (const connection of lost) {
    if (connection.connectionState === 'Disconnecting') return { kind: 'wait', reason: `the connection to ${connection.peer} is closing` }
    if (connection.connectionState !== 'StandAlone') {
      return run('disconnect-force', resource, connection, `${connection.peer} is fenced: it must not come back half way`)
    }
  }
  const doubt = doubtAboutData(view, lost)
  if (doubt !== undefined) return doubt
  const unproved = lost.find(({ peer }) => !view.statedFreezeMode.has(peer) && !view.provedStopped.has(peer))
  if (unproved !== undefined) {
    return {
      kind: 'wait',
      reason: `${unproved.peer} did not state freeze mode in this epoch: another proof that it has stopped is awaited`,
    }
  }
  const blocking = resource.connections.find((connection) => isMissingReplica(view, connection))
  if (blocking !== undefined) {
    return {
      kind: 'blocked',
      reason: `the replica on ${blocking.peer} is not connected and not fenced: going on here would leave it behind without its knowing`,
      nextStep: `bring ${blocking.peer} back, or have it fenced`,
    }
  }
  return resource.role === 'Primary' ? planThaw(resource) : planUnlock(view, lost)
}

function planThaw(resource: Resource): NextStep {
  const [volume] = resource.volumes
  if (resource.suspended.fencing && volume !== undefined) {
    // One minor thaws the whole resource; the state read afterwards says so.
    const command: DrbdCommand = { kind: 'resume-io', resource: resource.name, minor: volume.minor }
    return { kind: 'run', command, why: 'Primary here, frozen for the loss of a fenced peer' }
  }
  if (resource.suspended.quorum || resource.suspended.noData || resource.suspended.user) {
    const why = [resource.suspended.quorum && 'quorum', resource.suspended.noData && 'no-data', resource.suspended.user && 'user'].filter(
      Boolean,
    )
    return {
      kind: 'blocked',
      reason: `I/O stays suspended for ${why.join(', ')}: not for fencing, so not roomfence's to resume`,
      nextStep: `look at drbdsetup status ${resource.name}; set quorum off where roomfence arbitrates`,
    }
  }
  return { kind: 'done', outcome: 'Primary here and writing' }
}

function planUnlock(view: SurvivorView, lost: readonly Connection[]): NextStep {
  for (const connection of lost) {
    const options = optionsOf(view.shown, connection)
    if (options === undefined) return { kind: 'wait', reason: `the options of the connection to ${connection.peer} are not known yet` }
    if (options.fencing === 'dont-care') continue
    if (view.staleReadsUntilMs !== undefined && view.nowMs < view.staleReadsUntilMs) {
      return { kind: 'wait', reason: 'the lost side may still answer reads', untilMs: view.staleReadsUntilMs }
    }
    return run('unlock', view.resource, connection, `${connection.peer} is fenced: the volume may be opened here`)
  }
  return { kind: 'done', outcome: 'free to be promoted by whoever opens it' }
}

/** P4, no stale start: undefined when the data here is the newest there is. */
function doubtAboutData(view: SurvivorView, lost: readonly Connection[]): NextStep | undefined {
  const { volumes, name } = view.resource
  if (volumes.length === 0) return { kind: 'wait', reason: `${name} has no volume here` }
  if (volumes.every(({ isClient }) => isClient)) return doubtOfDiskless(view)
  const bad = volumes.find(({ diskState }) => diskState !== 'UpToDate')
  if (bad !== undefined) return doubtOfDisk(bad)
  for (const { peer, volumes: peerVolumes } of lost) {
    const known = view.memory.get(peer)
    const isTieBreaker = peerVolumes.length > 0 && peerVolumes.every(({ isPeerClient }) => isPeerClient)
    if (known?.wasUpToDate === true || (isTieBreaker && known === undefined)) continue
    return {
      kind: 'blocked',
      reason:
        known === undefined
          ? `nobody remembers that this replica was UpToDate while ${peer} was connected`
          : `this replica was not UpToDate when ${peer} was last connected: it says UpToDate now, but may be stale`,
      nextStep: 'an operator decides: bring the lost room back, or confirm that this replica is to be used',
    }
  }
  return undefined
}

function doubtOfDisk({ volume, diskState }: Volume): NextStep {
  if (diskState === 'Consistent') {
    // For some milliseconds after a loss this is normal; a node that restarted meanwhile stays so.
    return { kind: 'wait', reason: `volume ${volume} is Consistent: settling after the loss, or restarted while the peer was away` }
  }
  return {
    kind: 'blocked',
    reason: `volume ${volume} is ${diskState} here, but must be UpToDate`,
    nextStep: 'bring the lost room back: the newest data is there',
  }
}

function doubtOfDiskless({ resource, goodReplicas, fenced }: SurvivorView): NextStep | undefined {
  const isFed = resource.connections.some(
    (connection) => !fenced.has(connection.peer) && goodReplicas.has(connection.peer) && isConnectedUpToDate(connection),
  )
  if (isFed) return undefined
  return { kind: 'wait', reason: 'diskless here: awaiting a connected replica among the survivors that was UpToDate before the loss' }
}

/** A replica in freeze mode that is away without being fenced: resuming without it would make its UpToDate a lie. */
function isMissingReplica(view: SurvivorView, connection: Connection): boolean {
  if (view.fenced.has(connection.peer) || connection.connectionState === 'Connected' || isDisklessPeer(connection)) return false
  const isKnownBehind = connection.volumes.every(({ peerDiskState }) => peerDiskState === 'Outdated' || peerDiskState === 'Inconsistent')
  if (isKnownBehind && connection.volumes.length > 0) return false
  return fencingOf(view, connection) !== 'dont-care'
}

const fencingOf = (view: SurvivorView, connection: Connection): string | undefined => optionsOf(view.shown, connection)?.fencing

/**
 * On the way back. A loser that reconnects while still a frozen Primary gets its hanging writes acknowledged and then erased (seen on real DRBD), so
 * the winner stays StandAlone until the loser is known to be Secondary.
 */
function planRejoin(view: SurvivorView, connection: Connection): NextStep {
  const { peer, connectionState } = connection
  const fencing = fencingOf(view, connection)
  if (connectionState === 'Connected') {
    if (fencing === 'resource-and-stonith') return { kind: 'done', outcome: `${peer} is connected and locked` }
    return run('relock', view.resource, connection, `${peer} is connected again: freeze mode back at once`)
  }
  if (connectionState !== 'StandAlone') return { kind: 'wait', reason: `the connection to ${peer} is ${connectionState}` }
  if (!view.confirmedSecondary.has(peer)) {
    return { kind: 'wait', reason: `${peer} is not yet confirmed Secondary or rebooted: no reconnect before that` }
  }
  return run('connect', view.resource, connection, `${peer} is confirmed Secondary: it may follow`)
}

/**
 * A Primary that froze because a *diskless* peer went away (a tie-breaker of a resource whose fencing is set on every connection): it may go on when
 * every replica is connected and UpToDate, for then each of its writes reaches them all. Undefined where that is not the case. No fence is needed:
 * nothing is unlocked towards any replica.
 */
export function planThawWithoutTieBreaker(resource: Resource, shown: ShownResource | undefined): NextStep | undefined {
  const [volume] = resource.volumes
  if (resource.role !== 'Primary' || !resource.suspended.fencing || volume === undefined) return undefined
  const gone = resource.connections.filter(({ connectionState }) => connectionState !== 'Connected')
  const replicas = resource.connections.filter((connection) => !isDisklessPeer(connection))
  const optionsAreKnown = (options: ShownConnection | undefined) => options?.allowTwoPrimaries === false
  const isSafe =
    gone.length > 0 &&
    gone.every((connection) => isDisklessPeer(connection) && optionsAreKnown(optionsOf(shown, connection))) &&
    replicas.length > 0 &&
    replicas.every(isConnectedUpToDate)
  if (!isSafe) return undefined
  const command: DrbdCommand = { kind: 'resume-io', resource: resource.name, minor: volume.minor }
  return {
    kind: 'run',
    command,
    why: `only diskless ${gone.map(({ peer }) => peer).join(', ')} is gone, and every replica is connected and UpToDate`,
  }
}

function run(
  kind: 'disconnect-force' | 'unlock' | 'relock' | 'connect',
  { name }: Resource,
  { peer, peerNodeId }: Connection,
  why: string,
): NextStep {
  return { kind: 'run', command: { kind, resource: name, peer, peerNodeId }, why }
}
