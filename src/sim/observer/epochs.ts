/** Epochs as they are accepted and learned: chosen by majorities, one after the other, and never two of one number. */
import {
  digestOf,
  FORCED_STEP,
  isDecidedBy,
  isForced,
  memberOf,
  type Membership,
  newlyFenced,
  nodeVoter,
  votesOf,
  witnessVoter,
} from '../../protocol/membership.ts'
import type { Accepted, Ballot, Register } from '../../protocol/messages.ts'
import type { SimNode, World } from '../world/world.ts'
import { checkRegister, checkUnfenced } from './invariants.ts'
import { checkOutage } from './outage.ts'
import { violate } from './violations.ts'

export function noteLearned(world: World, node: SimNode, membership: Membership): void {
  const { chosen, chosenAtMs } = world.observer
  const known = chosen.get(membership.epoch)
  if (known === membership) return
  if (known) {
    if (digestOf(known) !== digestOf(membership))
      violate(world, 'P2 single survivor', `${node.name} learned another epoch ${membership.epoch}: ${JSON.stringify(membership.cause)}`)
    return
  }
  chosen.set(membership.epoch, membership)
  chosenAtMs.set(membership.epoch, world.timeline.nowMs)
  checkUnfenced(world, membership)
  world.count(`epochs ${membership.cause.kind}`)
  world.note(`epoch ${membership.epoch} chosen: ${describeCause(membership)}`)
  const before = chosen.get(membership.epoch - (isForced(membership) ? FORCED_STEP : 1))
  if (before) checkChosen(world, before, membership)
  if (before && !isForced(membership)) checkSuccession(world, before, membership)
  if (!isForced(membership)) noteRemembered(world, membership)
}

/**
 * On a disk. A forced epoch counts as the last one only from then on: it was chosen by the few that were left, and where they died before they learned
 * it, an ordinary one takes its place, and nothing has come of it.
 */
export function noteRemembered({ observer }: World, membership: Membership): void {
  if (membership.epoch > (observer.latest?.epoch ?? -1)) observer.latest = membership
}

export function noteAccepted(world: World, node: SimNode, accepted: Accepted): void {
  const { acceptedAtMs } = world.observer
  const digest = digestOf(accepted.membership)
  if (!acceptedAtMs.has(digest)) acceptedAtMs.set(digest, world.timeline.nowMs)
  noteVote(world, digest, accepted.ballot, nodeVoter(node.name, node.incarnation))
  checkDoor(world, node, accepted.membership)
}

export function noteRegister(world: World, before: Register): void {
  const { register } = world.witness
  const { acceptedAtMs } = world.observer
  checkRegister(world, before, register)
  if (register.accepted) {
    const digest = digestOf(register.accepted.membership)
    // The witness accepts first: from then on the value may be finished, whoever lives by then.
    if (!acceptedAtMs.has(digest)) acceptedAtMs.set(digest, world.timeline.nowMs)
    noteVote(world, digest, register.accepted.ballot, witnessVoter(register.incarnation))
  }
  if (register.accepted && register.accepted.membership.clusterId !== register.membership.clusterId)
    violate(world, 'P5 nothing forgotten', 'the register mixes clusters')
}

export function describeCause(membership: Membership): string {
  const { cause } = membership
  const nodes = 'nodes' in cause ? ` ${cause.nodes.join(',')}` : ''
  const witness = 'witness' in cause ? ` witness ${cause.witness}` : ''
  const by = 'by' in cause ? ` by ${cause.by}` : ''
  return `${cause.kind}${nodes}${witness}${by}`
}

function noteVote({ observer }: World, digest: string, { round, node, incarnation }: Ballot, voter: string): void {
  const ballots = observer.acceptedBy.get(digest) ?? new Map<string, Set<string>>()
  observer.acceptedBy.set(digest, ballots)
  const key = `${round} ${node} ${incarnation}`
  const voters = ballots.get(key)
  if (voters) voters.add(voter)
  else ballots.set(key, new Set([voter]))
}

/** What is learned was accepted, under one ballot, by majorities of the votes before and after it. */
function checkChosen(world: World, before: Membership, after: Membership): void {
  const ballots = world.observer.acceptedBy.get(digestOf(after))
  for (const voters of ballots?.values() ?? []) if (isDecidedBy(before, after, (voter) => voters.has(voter))) return
  violate(world, 'P2 single survivor', `epoch ${after.epoch} (${describeCause(after)}) is learned, but was never chosen`)
}

/** No node agrees to its own fence, and none closes its door to others before the witness has taken the value, where its vote is needed. */
function checkDoor(world: World, node: SimNode, value: Membership): void {
  if (memberOf(value, node.name)?.standing === 'fenced') violate(world, 'P3 no self-made outage', `${node.name} accepted its own fence`)
  const now = node.state?.durable.membership
  if (!now || isForced(value) || newlyFenced(now, value).length === 0) return
  const never = new Set<string>()
  for (const { node: name, incarnation, standing } of value.members) if (standing === 'fenced') never.add(nodeVoter(name, incarnation))
  if (isDecidedBy(now, value, (voter) => !voter.startsWith('witness/') && !never.has(voter))) return
  const ballots = world.observer.acceptedBy.get(digestOf(value))
  for (const voters of ballots?.values() ?? []) for (const voter of voters) if (voter.startsWith('witness/')) return
  violate(
    world,
    'P3 no self-made outage',
    `${node.name} closes its door to ${newlyFenced(now, value).join(', ')}, but the witness, whose vote is needed, has not taken that fence`,
  )
}

/** Each epoch is made of the one before it: its votes, and its fenced nodes unless the change is to let them back. */
function checkSuccession(world: World, before: Membership, after: Membership): void {
  if (JSON.stringify([...votesOf(before)]) !== JSON.stringify(after.votesBefore))
    violate(world, 'P2 single survivor', `epoch ${after.epoch} was made from another epoch ${before.epoch} than the one chosen`)
  for (const { node, standing } of before.members)
    if (standing === 'fenced' && memberOf(after, node)?.standing !== 'fenced' && after.cause.kind !== 'unfence')
      violate(
        world,
        'P5 nothing forgotten',
        `${node} is fenced in epoch ${before.epoch} and no more in ${after.epoch} (${after.cause.kind})`,
      )
  // An old value that may have been chosen is finished whoever lives by then; only its making is judged.
  const acceptedAtMs = world.observer.acceptedAtMs.get(digestOf(after)) ?? world.timeline.nowMs
  if (world.timeline.nowMs - acceptedAtMs > 2 * world.options.timings.attemptMs) return
  for (const name of newlyFenced(before, after)) {
    const node = world.nodeByName.get(name)
    if (node) checkOutage(world, node, 'fenced', before)
  }
}
