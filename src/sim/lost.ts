/** What dead disks and a restored witness took with them that nobody can tell again: a person's cases (docs/simulation.md, "Liveness"). */
import { compareBallots } from '../protocol/acceptor.ts'
import {
  digestOf,
  isDecidedBy,
  isMajority,
  isSuccessor,
  memberOf,
  type Membership,
  nodeVoter,
  type VoterKey,
  votesBeforeOf,
  votesOf,
  witnessVoter,
} from '../protocol/membership.ts'
import type { Ballot } from '../protocol/messages.ts'
import type { Durable } from '../protocol/state.ts'
import type { SimNode, World } from './world.ts'

/** What died with a disk: the voter may have accepted what was proposed with the ballot that it promised or a lower one, or have learned more than the others. */
export interface LostMemory {
  readonly voter: VoterKey
  readonly epoch: number
  readonly promised: Ballot | null
}

export const durableOf = ({ state, disk }: SimNode): Durable | null => state?.durable ?? disk.synced

/** To be called before the disk is gone. What was still being written was never said, so nobody counts on it. */
export function noteLostMemory(world: World, node: SimNode): void {
  const { promised, membership } = node.disk.synced ?? {}
  if (membership)
    world.lostMemories.push({ voter: nodeVoter(node.name, node.incarnation), epoch: membership.epoch, promised: promised ?? null })
}

/** Whether no node remembers a newer register: by what is true, since nodes that are down have not read it yet (hostile seed 6039498). */
export function isRegisterRemembered(world: World): boolean {
  const { register } = world.witness
  return world.nodes.every((node) => {
    const seen = durableOf(node)?.witnessSeen
    return seen?.incarnation !== register.incarnation || seen.version <= register.version
  })
}

function survivingVoters(world: World): ReadonlySet<string> {
  const voters = new Set<string>(world.nodes.map((node) => nodeVoter(node.name, node.incarnation)))
  if (world.options.hasWitness && isRegisterRemembered(world)) voters.add(witnessVoter(world.witness.register.incarnation))
  return voters
}

/** Whether the voters of the last epoch still are what they were: dead disks and a restore may have taken too many. */
export function hasMajority(world: World): boolean {
  const latest = world.observer.latest ?? world.genesis
  const voters = survivingVoters(world)
  // Who is fenced has no vote; before the epoch is installed the votes before it count as well.
  const ofBefore = votesBeforeOf(latest)
  return isMajority(votesOf(latest), (voter) => voters.has(voter)) && isMajority(ofBefore, (voter) => voters.has(voter))
}

/** The last epoch that anybody still knows, which is not the last one chosen where its only learner lost its disk. */
function lastKnown(world: World): Membership {
  const known = [world.witness.register.membership, ...world.nodes.flatMap((node) => durableOf(node)?.membership ?? [])]
  return known.reduce((last, membership) => (membership.epoch > last.epoch ? membership : last))
}

/**
 * Whether a value that is half accepted can neither be finished nor ruled out: those who are left cannot choose it, and those who hold it could have,
 * together with voters that promised it, or learned it alone, and lost their disk (hostile seeds 2074794, 9009073).
 */
export function isUndecidable(world: World): boolean {
  if (world.lostMemories.length === 0) return false
  const { register } = world.witness
  const known = lastKnown(world)
  const held = world.nodes.flatMap((node) => {
    const accepted = durableOf(node)?.accepted
    return accepted ? [{ voter: nodeVoter(node.name, node.incarnation), accepted }] : []
  })
  if (world.options.hasWitness && register.accepted) held.push({ voter: witnessVoter(register.incarnation), accepted: register.accepted })
  const [highest] = held
    .map(({ accepted }) => accepted)
    .filter(({ membership }) => isSuccessor(known, membership))
    .toSorted((a, b) => compareBallots(b.ballot, a.ballot))
  if (!highest) return false
  const value = highest.membership
  const mayHaveAccepted = new Set<VoterKey>()
  for (const { voter, accepted } of held) if (digestOf(accepted.membership) === digestOf(value)) mayHaveAccepted.add(voter)
  for (const { voter, epoch, promised } of world.lostMemories) {
    const hasPromised = epoch === known.epoch && promised !== null && compareBallots(highest.ballot, promised) <= 0
    if (hasPromised || epoch > known.epoch) mayHaveAccepted.add(voter)
  }
  const left = new Set(survivingVoters(world))
  for (const node of world.nodes) if (memberOf(value, node.name)?.standing === 'fenced') left.delete(nodeVoter(node.name, node.incarnation))
  return isDecidedBy(known, value, (voter) => mayHaveAccepted.has(voter)) && !isDecidedBy(known, value, (voter) => left.has(voter))
}
