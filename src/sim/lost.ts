/** What dead disks and a restored witness took with them that nobody can tell again: a person's cases (docs/simulation.md, "Liveness"). */
import { isMajority, nodeVoter, votesOf, witnessVoter } from '../protocol/membership.ts'
import type { Durable } from '../protocol/state.ts'
import type { SimNode, World } from './world.ts'

const durableOf = ({ state, disk }: SimNode): Durable | null => state?.durable ?? disk.synced

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
