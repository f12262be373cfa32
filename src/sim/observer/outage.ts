/** P3, no self-made outage: nothing happens to a node that has long been in contact with more than half of the votes. */
import {
  isDecidedBy,
  isMajority,
  memberOf,
  type Membership,
  newlyFenced,
  nodeVoter,
  votesBeforeOf,
  votesOf,
  witnessVoter,
} from '../../protocol/membership.ts'
import { readClock } from '../world/clock.ts'
import type { SimNode, World } from '../world/world.ts'
import { checkKilledByReset } from './kills.ts'
import { isRegisterRemembered } from './lost.ts'
import { violate } from './violations.ts'

/** In contact for so long: nothing of what happened before can still take effect (permits, retries, votes that shift). */
const settledMs = (world: World): number => {
  const { permitMs, detectMs, lingerMs, attemptMs } = world.options.timings
  return permitMs + detectMs + 3 * (lingerMs + attemptMs)
}

export function checkReset(world: World, node: SimNode, reason: string, hasHadPermit: boolean): void {
  checkKilledByReset(world, node, reason, hasHadPermit)
  const isAwake = world.timeline.nowMs - node.wellSinceMs > settledMs(world)
  if (reason !== 'watchdog' && !reason.includes('not verified')) return
  if (isAwake && node.stuckUntilMs < world.timeline.nowMs - 5_000) checkOutage(world, node, `reset (${reason})`)
}

export const checkPause = (world: World, node: SimNode): void => checkOutage(world, node, 'paused')

/** P3: nothing happens to a node that has long been in contact with more than half of the votes, itself among them. */
export function checkOutage(world: World, victim: SimNode, what: string, epoch?: Membership): void {
  const membership = epoch ?? victim.state?.durable.membership ?? world.genesis
  // Who has not learned yet that it is fenced may well be paused first.
  if (world.observer.latest && memberOf(world.observer.latest, victim.name)?.standing === 'fenced' && what !== 'fenced') return
  const member = memberOf(membership, victim.name)
  if (!member || member.standing === 'fenced' || member.incarnation !== victim.incarnation) return
  const { nowMs } = world.timeline
  const isSettled = (sinceMs: number): boolean => nowMs - sinceMs >= settledMs(world)
  if (!isSettled(victim.wellSinceMs)) return
  const group = world.nodes.filter(
    (node) => node === victim || (isSettled(node.wellSinceMs) && isSettled(world.network.contactSinceMs(victim.index, node.index))),
  )
  // In contact with the victim and with each other; who is not drops out, the one with most trouble first.
  const isWhole = group.every((a) => group.every((b) => a === b || isSettled(world.network.contactSinceMs(a.index, b.index))))
  if (!isWhole) return
  const voters = new Set<string>()
  for (const node of group) if (memberOf(membership, node.name)?.standing !== 'fenced') voters.add(nodeVoter(node.name, node.incarnation))
  const { witness } = world
  const isWitnessGood =
    witness.isUp &&
    // Where somebody has seen a newer version it grants nothing until it has lost its vote and got it back.
    isRegisterRemembered(world) &&
    isSettled(witness.goodSinceMs) &&
    group.every((node) => isSettled(world.network.contactSinceMs(node.index, world.witnessSite)))
  if (isWitnessGood && membership.witness?.incarnation === witness.register.incarnation)
    voters.add(witnessVoter(witness.register.incarnation))
  // A witness that both sides reach has to choose one.
  const outside = new Set<string>()
  for (const { node: name, incarnation } of membership.members) {
    const node = world.nodeByName.get(name)
    if (node && !group.includes(node) && !isSettled(world.network.contactSinceMs(victim.index, node.index)))
      outside.add(nodeVoter(name, incarnation))
  }
  if (membership.witness && world.options.hasWitness) outside.add(witnessVoter(membership.witness.incarnation))
  if (isMajority(votesOf(membership), (voter) => outside.has(voter))) return
  // In an epoch that is just being learned the votes before it still count.
  const { state } = victim
  const isFresh = state !== undefined && readClock(victim.clock, nowMs) - state.epoch.learnedAtMs < 2 * world.options.timings.permitMs
  if (isFresh && !isMajority(votesBeforeOf(membership), (voter) => voters.has(voter))) return
  // Its proposer died before it told: the others learned of the epoch from the register, a read later, and one more read is the witness's first ack in it.
  const justLearnedMs = world.options.timings.permitMs / 4
  if (what === 'paused' && state !== undefined && readClock(victim.clock, nowMs) - state.epoch.learnedAtMs < justLearnedMs) return
  // Whoever is fenced is judged by when that was made, above: the very value that fences it excuses nothing.
  if (what !== 'fenced' && isBlocked(world, membership, victim, group, voters)) return
  if (isMajority(votesOf(membership), (voter) => voters.has(voter)))
    violate(
      world,
      'P3 no self-made outage',
      `${victim.name} was ${what} while ${group.map(({ name }) => name).join(', ')} with a majority had been in contact for long`,
    )
}

/**
 * One of the group, or the register, accepted a fence of the victim that those who are out of reach may have chosen: nobody may rule it out, and the
 * group without the victim is too few to finish it (docs/simulation.md, "Limits of the model").
 */
function isBlocked(world: World, membership: Membership, victim: SimNode, group: readonly SimNode[], voters: ReadonlySet<string>): boolean {
  const ofGroup = group.map(({ state }) => (state?.durable.membership?.epoch === membership.epoch ? state.durable.accepted : undefined))
  return [...ofGroup, world.witness.register.accepted].some((accepted) => {
    const value = accepted?.membership
    if (!value || value.epoch <= membership.epoch || memberOf(value, victim.name)?.standing !== 'fenced') return false
    const never = new Set<string>(
      newlyFenced(membership, value).map((name) => nodeVoter(name, memberOf(value, name)?.incarnation ?? victim.incarnation)),
    )
    return !isDecidedBy(membership, value, (voter) => voters.has(voter) && !never.has(voter))
  })
}
