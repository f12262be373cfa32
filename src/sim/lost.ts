/** What dead disks and a restored witness took with them that nobody can tell again: a person's cases (docs/simulation.md, "Liveness"). */
import { compareBallots } from '../protocol/acceptor.ts'
import {
  digestOf,
  isDecidedBy,
  isMajority,
  isSuccessor,
  memberOf,
  nodeVoter,
  type VoterKey,
  votesOf,
  witnessVoter,
} from '../protocol/membership.ts'
import type { Ballot } from '../protocol/messages.ts'
import type { Durable } from '../protocol/state.ts'
import type { SimNode, World } from './world.ts'

/** A promise that died with its disk: the voter may have accepted what was proposed with that ballot, or with a lower one. */
export interface LostPromise {
  readonly voter: VoterKey
  readonly epoch: number
  readonly ballot: Ballot
}

const durableOf = ({ state, disk }: SimNode): Durable | null => state?.durable ?? disk.synced

/** To be called before the disk is gone. A promise that was still being written was never answered, so nobody counts on it. */
export function noteLostPromise(world: World, node: SimNode): void {
  const { promised, membership } = node.disk.synced ?? {}
  if (promised && membership)
    world.lostPromises.push({ voter: nodeVoter(node.name, node.incarnation), epoch: membership.epoch, ballot: promised })
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
  const ofBefore = new Map(latest.votesBefore)
  return isMajority(votesOf(latest), (voter) => voters.has(voter)) && isMajority(ofBefore, (voter) => voters.has(voter))
}

/**
 * Whether a value that is half accepted can neither be finished nor ruled out: those who are left cannot choose it, and those who hold it could have,
 * together with voters that promised and lost their disk.
 */
export function isUndecidable(world: World): boolean {
  if (world.lostPromises.length === 0) return false
  const latest = world.observer.latest ?? world.genesis
  const { register } = world.witness
  const held = world.nodes.flatMap((node) => {
    const accepted = durableOf(node)?.accepted
    return accepted ? [{ voter: nodeVoter(node.name, node.incarnation), accepted }] : []
  })
  if (world.options.hasWitness && register.accepted) held.push({ voter: witnessVoter(register.incarnation), accepted: register.accepted })
  const [highest] = held
    .map(({ accepted }) => accepted)
    .filter(({ membership }) => isSuccessor(latest, membership))
    .toSorted((a, b) => compareBallots(b.ballot, a.ballot))
  if (!highest) return false
  const value = highest.membership
  const mayHaveAccepted = new Set<VoterKey>()
  for (const { voter, accepted } of held) if (digestOf(accepted.membership) === digestOf(value)) mayHaveAccepted.add(voter)
  for (const { voter, epoch, ballot } of world.lostPromises)
    if (epoch === latest.epoch && compareBallots(highest.ballot, ballot) <= 0) mayHaveAccepted.add(voter)
  const left = new Set(survivingVoters(world))
  for (const node of world.nodes) if (memberOf(value, node.name)?.standing === 'fenced') left.delete(nodeVoter(node.name, node.incarnation))
  return isDecidedBy(latest, value, (voter) => mayHaveAccepted.has(voter)) && !isDecidedBy(latest, value, (voter) => left.has(voter))
}
