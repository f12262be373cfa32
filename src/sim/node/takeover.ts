/** What each agent does for its own replicas: evidence from DRBD's connections, and in freeze mode the shipped planner's steps after a fence. */
import { distrust, remember, type ReplicaMemory } from '../../drbd/memory.ts'
import type { Connection, Resource } from '../../drbd/model.ts'
import type { ShownResource } from '../../drbd/show.ts'
import { planSurvivor } from '../../drbd/survivor.ts'
import { type NodeId, nodeId } from '../../protocol/ids.ts'
import { FORCED_STEP, type Member, memberOf, type Membership } from '../../protocol/membership.ts'
import { nodeProof } from '../../protocol/proof.ts'
import { isReliable, mustKill } from '../../protocol/running.ts'
import { checkWriters } from '../observer/writers.ts'
import { storagePasses } from '../world/links.ts'
import { demote, disconnect, loseConnection, otherSide, resumeIo, type Side, sideOn, type Volume } from '../world/storage.ts'
import type { SimNode, World } from '../world/world.ts'
import { localMs } from './process.ts'

/** Nodes to which a DRBD connection of this node is up. */
export function connectedPeers(world: World, node: SimNode): readonly NodeId[] {
  const peers: NodeId[] = []
  for (const volume of world.volumes) {
    const side = sideOn(volume, node.index)
    if (side?.connection !== 'Connected') continue
    const peer = world.nodes[otherSide(volume, side).node]?.name
    if (peer !== undefined && !peers.includes(peer)) peers.push(peer)
  }
  return peers
}

export function isInSync(world: World, node: SimNode): boolean {
  return world.volumes.every((volume) => {
    const side = sideOn(volume, node.index)
    return !side || (side.connection === 'Connected' && side.state === 'UpToDate' && side.isLocked === world.options.isFreezeMode)
  })
}

/** Called at each tick of an agent that is awake. At most one command a resource: the state is read again after each. */
export function takeOverVolumes(world: World, node: SimNode): void {
  const { state } = node
  const membership = state?.durable.membership
  if (!state || !membership || !isReliable(state)) return
  // As the agent: without a vote nothing is trusted anew.
  const mayTrust = memberOf(membership, node.name)?.standing === 'voting'
  const isKilling = mustKill(state)
  for (const volume of world.volumes) {
    const side = sideOn(volume, node.index)
    if (!side) continue
    if (side.connection === 'Connected') {
      // Nothing to learn where both say the same.
      if (side.wasUpToDate !== (side.state === 'UpToDate')) {
        const memory = remember(memoryOf(world, volume, side), resourceOf(world, volume, side), localMs(world, node), mayTrust)
        keepMemory(side, memory)
      }
      if (world.options.isFreezeMode) exchangeStatement(world, node, volume, side)
    }
    // The others have written since: what it remembers says nothing any more.
    if (isKilling) distrustReplica(world, volume, side)
    if (!world.options.isFreezeMode || isKilling) continue
    const peer = world.nodes[otherSide(volume, side).node]
    const member = peer && memberOf(membership, peer.name)
    if (!peer || !member) continue
    if (member.standing !== 'fenced' && side.isLocked && side.connection !== 'StandAlone') continue
    const isFreezeStated = isStated(side, member, membership)
    const step = planSurvivor({
      resource: resourceOf(world, volume, side),
      shown: shownOf(world, volume, side),
      fenced: new Set(member.standing === 'fenced' ? [peer.name] : []),
      rejoining: new Set(),
      statedFreezeMode: new Set(isFreezeStated ? [peer.name] : []),
      // Asked for only where freeze mode was not stated, and it is the dearest to know.
      provedStopped: new Set(!isFreezeStated && nodeProof(state, peer.name, localMs(world, node)).isProved ? [peer.name] : []),
      confirmedSecondary: new Set(isConfirmedSecondary(node, membership, peer.name) ? [peer.name] : []),
      touched: new Set(side.takenOverEpoch >= 0 ? [peer.name] : []),
      memory: memoryOf(world, volume, side),
      goodReplicas: new Set(),
      staleReadsUntilMs: undefined,
      nowMs: localMs(world, node),
    })
    if (step.kind !== 'run') continue
    world.count(`drbd ${step.command.kind}`)
    if (world.log) world.note(`${node.name} ${step.command.kind} vm${volume.vm}: ${step.why}`)
    if (step.command.kind === 'disconnect-force') side.takenOverEpoch = member.lastFence
    runCommand(world, volume, side, step.command.kind)
  }
}

function runCommand(world: World, volume: Volume, side: Side, kind: string): void {
  switch (kind) {
    case 'disconnect-force':
      // The peer's kernel notices by itself; a Primary here is suspended in the same change of state.
      if (side.connection === 'Connected') loseConnection(volume, side, true, { frozen: () => undefined })
      disconnect(side)
      return
    case 'unlock':
      side.isLocked = false
      return
    case 'relock':
      side.isLocked = true
      if (side.connection === 'Connected') side.takenOverEpoch = -1
      return
    case 'connect':
      if (side.connection === 'StandAlone') side.connection = 'Connecting'
      return
    case 'resume-io':
      resumeIo(volume, side)
      checkWriters(world, volume.vm)
      return
    case 'secondary-force':
      demote(side)
  }
}

/** Of the one peer that there is. */
const memoryOf = ({ nodes }: World, volume: Volume, side: Side): ReplicaMemory =>
  new Map([[nodes[otherSide(volume, side).node]?.name ?? '', { wasUpToDate: side.wasUpToDate, readAtMs: 0 }]])

function keepMemory(side: Side, memory: ReplicaMemory): void {
  side.wasUpToDate = [...memory.values()].every(({ wasUpToDate }) => wasUpToDate)
}

export const distrustReplica = (world: World, volume: Volume, side: Side): void => keepMemory(side, distrust(memoryOf(world, volume, side)))

/** Both ends' agents say in each epoch, over heartbeats, whether freeze mode holds at their end. An unlock is said before it is done. */
function exchangeStatement(world: World, node: SimNode, volume: Volume, side: Side): void {
  const other = otherSide(volume, side)
  const peer = world.nodes[other.node]
  if (!peer?.state || !node.state || peer.stoppedUntilMs > world.timeline.nowMs) return
  if (peer.state.durable.membership?.epoch !== node.state.durable.membership?.epoch) return
  if (storagePasses(world, side.node, other.node) && world.network.contactSinceMs(node.index, peer.index) <= world.timeline.nowMs)
    side.freezeStatedEpoch = other.isLocked && other.connection === 'Connected' ? (node.state.durable.membership?.epoch ?? -1) : -1
}

/** In the epoch before its fence; a forced one is numbered far ahead of it. */
function isStated({ freezeStatedEpoch }: Side, { lastFence }: Member, { fenceVotes }: Membership): boolean {
  const isForced = fenceVotes.some(({ epoch, confirmed }) => epoch === lastFence && confirmed !== undefined)
  return freezeStatedEpoch >= 0 && freezeStatedEpoch >= lastFence - (isForced ? FORCED_STEP : 1)
}

function isConfirmedSecondary(node: SimNode, membership: Membership, peer: NodeId): boolean {
  const member = memberOf(membership, peer)
  const contact = node.state?.process.contacts.get(peer)
  return (
    member !== undefined &&
    contact?.statement !== null &&
    contact?.statement !== undefined &&
    contact.statement.killedEpoch >= member.lastFence
  )
}

/** The `storage` proof for one VM: freeze mode at the lost end, and no way back for it: this end is disconnected by force. */
export function hasStorageProof(world: World, node: SimNode, vm: number, lost: NodeId): boolean {
  const volume = world.volumes[vm]
  const lostIndex = world.nodeByName.get(lost)?.index
  const side = volume?.sides.find((one) => one.node !== lostIndex)
  if (!volume || !side || lostIndex === undefined || !world.options.isFreezeMode) return false
  const holder = world.nodes[side.node]
  const membership = holder?.state?.durable.membership
  const ours = node.state?.durable.membership
  // The holder's report, in the same epoch, over the heartbeats.
  if (!holder || !membership || !ours || membership.epoch !== ours.epoch) return false
  if (holder !== node && world.network.contactSinceMs(holder.index, node.index) > world.timeline.nowMs) return false
  const member = memberOf(ours, lost)
  return (
    member !== undefined &&
    isStated(side, member, ours) &&
    side.connection === 'StandAlone' &&
    side.takenOverEpoch === member.lastFence &&
    side.state === 'UpToDate' &&
    side.wasUpToDate
  )
}

function resourceOf(world: World, volume: Volume, side: Side): Resource {
  const other = otherSide(volume, side)
  const isConnected = side.connection === 'Connected'
  const connection: Connection = {
    peer: world.nodes[other.node]?.name ?? '',
    peerNodeId: other.node,
    connectionState: side.connection,
    peerRole: isConnected ? (other.isPrimary ? 'Primary' : 'Secondary') : 'Unknown',
    volumes: [
      {
        volume: 0,
        replicationState: isConnected ? 'Established' : 'Off',
        peerDiskState: isConnected ? other.state : 'DUnknown',
        isPeerClient: false,
        resyncSuspended: 'no',
        outOfSyncKib: undefined,
      },
    ],
  }
  return {
    name: `vm${volume.vm}`,
    role: side.isPrimary ? 'Primary' : 'Secondary',
    suspended: { user: false, noData: false, fencing: side.isSuspended, quorum: false },
    forceIoFailures: false,
    volumes: [{ volume: 0, minor: 1000 + volume.vm, diskState: side.state, isClient: false, hasQuorum: true, upperPending: undefined }],
    connections: [connection],
  }
}

function shownOf(world: World, volume: Volume, side: Side): ShownResource {
  const other = otherSide(volume, side)
  return {
    name: `vm${volume.vm}`,
    onSuspendedPrimaryOutdated: 'force-secondary',
    connections: [
      {
        peer: nodeId(world.nodes[other.node]?.name ?? ''),
        peerNodeId: other.node,
        fencing: side.isLocked ? 'resource-and-stonith' : 'dont-care',
        protocol: 'C',
        pingIntMs: 1_000,
        pingTimeoutMs: 500,
        allowTwoPrimaries: volume.isMigrating,
        rrConflict: 'retry-connect',
      },
    ],
  }
}
