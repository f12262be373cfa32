/** The membership: the one thing that is agreed, one epoch at a time (docs/protocol/membership.md). Pure. */
import type { ClusterId, Epoch, Incarnation, NodeId, Room } from './ids.ts'

/** Where a node's agent listens: one entry a heartbeat path (node network, storage network). */
export interface Address {
  readonly path: string
  readonly host: string
  readonly port: number
}

/**
 * `voting` may run and counts in its room's vote; `observing` may run but has no vote (un-fenced or new, its replicas not yet in sync);
 * `fenced` must not run.
 */
export type Standing = 'voting' | 'observing' | 'fenced'

export interface Member {
  readonly node: NodeId
  readonly room: Room
  readonly incarnation: Incarnation
  readonly addresses: readonly Address[]
  readonly standing: Standing
  /** The last epoch that fenced this node, 0 for never: who skipped that epoch still learns that it must kill. */
  readonly lastFence: Epoch
  /** A person is at work on it: it counts as neither dead nor alive, and has no vote. */
  readonly isInMaintenance: boolean
}

export interface WitnessSeat {
  /** One life of the register; a register restored from a backup is another one. */
  readonly incarnation: string
  readonly isVoting: boolean
}

/** A voter in the life that has the vote: `node/incarnation` or `witness/incarnation`. */
export type VoterKey = string & { readonly __brand: 'VoterKey' }
/** Integer weights; rooms of up to five voters divide evenly. */
export type Votes = ReadonlyMap<VoterKey, number>

export type Cause =
  | { readonly kind: 'genesis' }
  | { readonly kind: 'fence'; readonly nodes: readonly NodeId[]; readonly by: NodeId; readonly reason: string }
  | { readonly kind: 'unfence'; readonly nodes: readonly NodeId[]; readonly by: string }
  | { readonly kind: 'votes-back'; readonly nodes: readonly NodeId[] }
  | { readonly kind: 'vote-shift'; readonly witness: 'in' | 'out' }
  | { readonly kind: 'join'; readonly nodes: readonly NodeId[] }
  | { readonly kind: 'no-op' }
  | { readonly kind: 'pause-fencing' | 'resume-fencing'; readonly by: string }
  | { readonly kind: 'maintenance'; readonly nodes: readonly NodeId[]; readonly isOn: boolean; readonly by: string }
  | { readonly kind: 'forced'; readonly nodes: readonly NodeId[]; readonly by: string }

export interface FenceVotes {
  readonly epoch: Epoch
  readonly votes: readonly (readonly [VoterKey, number])[]
  /** In a forced epoch: whose death a person gave a word for, which is their proof. Absent in all others. */
  readonly confirmed?: { readonly by: string; readonly nodes: readonly NodeId[] }
}

export interface Membership {
  readonly clusterId: ClusterId
  readonly epoch: Epoch
  /** Sorted by node name. */
  readonly members: readonly Member[]
  readonly witness: WitnessSeat | null
  readonly preferredRoom: Room
  /** Who paused all fencing, null: nobody. Then nothing is fenced but by a person's word. */
  readonly fencingPausedBy: string | null
  /** Votes of the epoch before: this epoch is installed when majorities of both have learned it. */
  readonly votesBefore: readonly (readonly [VoterKey, number])[]
  /** For each epoch that fenced a node which still is: the votes that node's permit was counted in. What its proof is made of. */
  readonly fenceVotes: readonly FenceVotes[]
  readonly cause: Cause
}

/** 6000 divides by 1..5; 60 is the hundredth that breaks an exact tie, and 6060 divides by 1..5 as well. */
const ROOM_WEIGHT = 6000
const TIE_BREAK = 60
/** A room's vote is shared by at most this many nodes: more of them would only make a majority harder to collect. */
const VOTERS_A_ROOM = 5

export const nodeVoter = (node: NodeId, incarnation: Incarnation): VoterKey => `${node}/${incarnation}` as VoterKey
export const witnessVoter = (incarnation: string): VoterKey => `witness/${incarnation}` as VoterKey

const votesCache = new WeakMap<Membership, Votes>()

/** Weight of each voter: a function of the membership's content, so it is the same on every node. */
export function votesOf(membership: Membership): Votes {
  const known = votesCache.get(membership)
  if (known) return known
  const votersByRoom = new Map<Room, Member[]>()
  for (const member of membership.members) {
    if (member.standing !== 'voting') continue
    const voters = votersByRoom.get(member.room) ?? []
    if (voters.length < VOTERS_A_ROOM) voters.push(member)
    votersByRoom.set(member.room, voters)
  }
  const rooms = [...votersByRoom.keys()].sort()
  const isEven = rooms.length % 2 === 0
  const hasWitness = membership.witness?.isVoting === true
  const favoured = hasWitness || !isEven ? undefined : rooms.includes(membership.preferredRoom) ? membership.preferredRoom : rooms[0]
  const votes = new Map<VoterKey, number>()
  for (const room of rooms) {
    const voters = votersByRoom.get(room) ?? []
    const weight = room === favoured ? ROOM_WEIGHT + TIE_BREAK : ROOM_WEIGHT
    for (const voter of voters) votes.set(nodeVoter(voter.node, voter.incarnation), weight / voters.length)
  }
  if (hasWitness && membership.witness)
    votes.set(witnessVoter(membership.witness.incarnation), isEven ? ROOM_WEIGHT + TIE_BREAK : TIE_BREAK)
  else if (!isEven) {
    const first = votes.keys().next().value
    if (first !== undefined) votes.set(first, (votes.get(first) ?? 0) + TIE_BREAK)
  }
  votesCache.set(membership, votes)
  return votes
}

const weightsCache = new WeakMap<Membership['votesBefore'], Votes>()

/** Votes as they are stored, by voter. */
export function weightsOf(votes: Membership['votesBefore']): Votes {
  const known = weightsCache.get(votes)
  if (known) return known
  const weights = new Map(votes)
  weightsCache.set(votes, weights)
  return weights
}

export const votesBeforeOf = (membership: Membership): Votes => weightsOf(membership.votesBefore)

/** More than half of all weights, present or not: two majorities always share a voter. */
export function isMajority(votes: Votes, has: (voter: VoterKey) => boolean): boolean {
  let total = 0
  let present = 0
  for (const [voter, weight] of votes) {
    total += weight
    if (has(voter)) present += weight
  }
  return present * 2 > total
}

export function memberOf(membership: Membership, node: NodeId): Member | undefined {
  return membership.members.find((member) => member.node === node)
}

export const isSameVotes = (a: Votes, b: Votes): boolean => a.size === b.size && [...a].every(([voter, weight]) => b.get(voter) === weight)

/** The epoch whose votes fenced the node last; a forced fence is numbered far ahead of the one that it follows. */
export function epochBeforeFence(membership: Membership, node: NodeId): number {
  const epoch = memberOf(membership, node)?.lastFence ?? 0
  const isForcedFence = membership.fenceVotes.some((fence) => fence.epoch === epoch && fence.confirmed !== undefined)
  return epoch - (isForcedFence ? FORCED_STEP : 1)
}

const fencedCache = new WeakMap<Membership, readonly NodeId[]>()

export function fencedNodes(membership: Membership): readonly NodeId[] {
  const known = fencedCache.get(membership)
  if (known) return known
  const fenced = membership.members.filter((member) => member.standing === 'fenced').map((member) => member.node)
  fencedCache.set(membership, fenced)
  return fenced
}

/** Nodes that `next` fences and `now` does not. */
export function newlyFenced(now: Membership, next: Membership): readonly NodeId[] {
  return next.members
    .filter((member) => member.standing === 'fenced' && memberOf(now, member.node)?.standing !== 'fenced')
    .map((member) => member.node)
}

const digestCache = new WeakMap<Membership, string>()

/** Tells two memberships of the same number apart. Not a security measure: messages are authenticated. 53 bits, hexadecimal. */
export function digestOf(membership: Membership): string {
  const known = digestCache.get(membership)
  if (known) return known
  const text = JSON.stringify(canonical(membership))
  let high = 0xdeadbeef
  let low = 0x41c6ce57
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    high = Math.imul(high ^ code, 2654435761)
    low = Math.imul(low ^ code, 1597334677)
  }
  high = Math.imul(high ^ (high >>> 16), 2246822507) ^ Math.imul(low ^ (low >>> 13), 3266489909)
  low = Math.imul(low ^ (low >>> 16), 2246822507) ^ Math.imul(high ^ (high >>> 13), 3266489909)
  const digest = (4294967296 * (2097151 & low) + (high >>> 0)).toString(16).padStart(14, '0')
  digestCache.set(membership, digest)
  return digest
}

/** The membership as plain data with its fields in one order: what is hashed, stored and sent. */
function canonical(membership: Membership): Membership {
  const { clusterId, epoch, witness, preferredRoom, fencingPausedBy, votesBefore, fenceVotes, cause } = membership
  const members = [...membership.members]
    .sort((a, b) => (a.node < b.node ? -1 : a.node > b.node ? 1 : 0))
    .map(({ node, room, incarnation, addresses, standing, lastFence, isInMaintenance }) => ({
      node,
      room,
      incarnation,
      addresses: addresses.map(({ path, host, port }) => ({ path, host, port })),
      standing,
      lastFence,
      isInMaintenance,
    }))
  return {
    clusterId,
    epoch,
    members,
    witness: witness && { incarnation: witness.incarnation, isVoting: witness.isVoting },
    preferredRoom,
    fencingPausedBy,
    votesBefore,
    fenceVotes,
    cause,
  }
}

/** A forced epoch is numbered so far ahead that it outranks whatever the nodes that were declared dead may have chosen. */
export const FORCED_STEP = 2 ** 20

export const isForced = ({ cause }: Membership): boolean => cause.kind === 'forced'

/** Whether `next` is what may be chosen after `now`: the next number, or the forced one. */
export const isSuccessor = (now: Membership, next: Membership): boolean => next.epoch === now.epoch + (isForced(next) ? FORCED_STEP : 1)

/** Whether those who agree may choose `next`: majorities of the votes before and after it, in a forced epoch of its own votes alone. */
export const isDecidedBy = (now: Membership, next: Membership, has: (voter: VoterKey) => boolean): boolean =>
  (isForced(next) || isMajority(votesOf(now), has)) && isMajority(votesOf(next), has)

/** What the next epoch changes. Everything else stays. */
export interface Change {
  readonly members?: readonly Member[]
  readonly witness?: WitnessSeat | null
  readonly fencingPausedBy?: string | null
  readonly cause: Cause
}

/** The epoch after `now`, with `change` made; a forced one is `FORCED_STEP` ahead. */
export function nextEpoch(now: Membership, change: Change): Membership {
  const { cause } = change
  const epoch = (now.epoch + (cause.kind === 'forced' ? FORCED_STEP : 1)) as Epoch
  const members = change.members ?? now.members
  const votesBefore = [...votesOf(now)]
  const fence: FenceVotes =
    cause.kind === 'forced' ? { epoch, votes: votesBefore, confirmed: { by: cause.by, nodes: cause.nodes } } : { epoch, votes: votesBefore }
  const fenceEpochs = new Set(members.filter((member) => member.standing === 'fenced').map((member) => member.lastFence))
  const fenceVotes = now.fenceVotes.filter((fence) => fenceEpochs.has(fence.epoch))
  return canonical({
    clusterId: now.clusterId,
    epoch,
    members,
    witness: change.witness === undefined ? now.witness : change.witness,
    preferredRoom: now.preferredRoom,
    fencingPausedBy: change.fencingPausedBy === undefined ? now.fencingPausedBy : change.fencingPausedBy,
    votesBefore,
    fenceVotes: fenceEpochs.has(epoch) ? [...fenceVotes, fence] : fenceVotes,
    cause,
  })
}

/** `now` with `nodes` in another standing. A fence also notes its epoch in `lastFence`. */
export function withStanding(now: Membership, nodes: readonly NodeId[], standing: Standing): readonly Member[] {
  const changed = new Set(nodes)
  const epoch = (now.epoch + 1) as Epoch
  return now.members.map((member) =>
    changed.has(member.node) ? { ...member, standing, lastFence: standing === 'fenced' ? epoch : member.lastFence } : member,
  )
}

/**
 * The epoch in which a person's word stands in for missing votes: it fences those who were named. `now` may be older than what the dead chose, so
 * whoever is fenced in it is fenced anew: it may have been let back since, and an old kill must prove nothing.
 */
export function forcedEpoch(now: Membership, nodes: readonly NodeId[], by: string): Membership {
  const named = new Set(nodes)
  const lastFence = (now.epoch + FORCED_STEP) as Epoch
  const members = now.members.map(
    (member): Member => (named.has(member.node) || member.standing === 'fenced' ? { ...member, standing: 'fenced', lastFence } : member),
  )
  return nextEpoch(now, { members, cause: { kind: 'forced', nodes, by } })
}

/** `now` with `nodes` in maintenance, or out of it; who votes loses its vote, and gets it back as after an un-fence. */
export const withMaintenance = (now: Membership, nodes: readonly NodeId[], isOn: boolean): readonly Member[] =>
  now.members.map((member) =>
    nodes.includes(member.node)
      ? { ...member, isInMaintenance: isOn, standing: isOn && member.standing === 'voting' ? 'observing' : member.standing }
      : member,
  )

export interface GenesisNode {
  readonly node: NodeId
  readonly room: Room
  readonly incarnation: Incarnation
  readonly addresses: readonly Address[]
}

/** Epoch 0, made once by `roomfence init`: every node votes. */
export function genesis(
  clusterId: ClusterId,
  nodes: readonly GenesisNode[],
  preferredRoom: Room,
  witnessIncarnation: string | null,
): Membership {
  const bare: Membership = {
    clusterId,
    epoch: 0 as Epoch,
    members: nodes.map((node) => ({ ...node, standing: 'voting', lastFence: 0 as Epoch, isInMaintenance: false })),
    witness: witnessIncarnation === null ? null : { incarnation: witnessIncarnation, isVoting: true },
    preferredRoom,
    fencingPausedBy: null,
    votesBefore: [],
    fenceVotes: [],
    cause: { kind: 'genesis' },
  }
  const sorted = canonical(bare)
  return canonical({ ...sorted, votesBefore: [...votesOf(sorted)] })
}
