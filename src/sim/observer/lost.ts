/** What dead disks and a restored witness took with them that nobody can tell again: a person's cases (docs/simulation.md, "Liveness"). */
import { compareBallots } from '../../protocol/acceptor.ts'
import {
  isDecidedBy,
  isMajority,
  isSuccessor,
  memberOf,
  type Membership,
  nodeVoter,
  votesBeforeOf,
  votesOf,
  witnessVoter,
} from '../../protocol/membership.ts'
import type { Durable } from '../../protocol/state.ts'
import type { SimNode, World } from '../world/world.ts'

export const durableOf = ({ state, disk }: SimNode): Durable | undefined => state?.durable ?? disk.synced

/** Whether no node remembers a newer register: by what is true, since nodes that are down have not read it yet. */
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
  // Who is fenced has no vote; before the epoch is known to be installed the votes before it count as well.
  const isInstalled = world.nodes.some((node) => durableOf(node)?.installedEpoch === latest.epoch)
  const ofBefore = votesBeforeOf(latest)
  return isMajority(votesOf(latest), (voter) => voters.has(voter)) && (isInstalled || isMajority(ofBefore, (voter) => voters.has(voter)))
}

/** The last epoch that anybody still knows, which is not the last one chosen where its only learner lost its disk. */
function lastKnown(world: World): Membership {
  const known = [world.witness.register.membership, ...world.nodes.flatMap((node) => durableOf(node)?.membership ?? [])]
  return known.reduce((last, membership) => (membership.epoch > last.epoch ? membership : last))
}

/**
 * Whether a value that is half accepted can neither be finished nor ruled out: those who are left cannot choose it, and those of them that accepted
 * nothing are too few to have kept a majority from it, since whose disk is gone may have accepted or even learned it, as far as anybody can know.
 */
export function isUndecidable(world: World): boolean {
  if (world.disksLost === 0) return false
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
  const left = new Set(survivingVoters(world))
  // Of a witness without a seat in what is known nobody asks a vote for what follows.
  if (known.witness?.isVoting !== true) left.delete(witnessVoter(register.incarnation))
  const unbound = new Set(left)
  for (const { voter } of held) unbound.delete(voter)
  for (const node of world.nodes) if (memberOf(value, node.name)?.standing === 'fenced') left.delete(nodeVoter(node.name, node.incarnation))
  return isDecidedBy(known, value, (voter) => !unbound.has(voter)) && !isDecidedBy(known, value, (voter) => left.has(voter))
}
