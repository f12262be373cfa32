/** What the observer holds agents to between the outcomes: proofs that are true, promises and ballots that never go back, doors that stay closed. */
import { compareBallots } from '../../protocol/acceptor.ts'
import { fencedNodes, memberOf, type Membership } from '../../protocol/membership.ts'
import type { Register } from '../../protocol/messages.ts'
import { nodeProof } from '../../protocol/proof.ts'
import type { Durable, Effect } from '../../protocol/state.ts'
import { readClock } from '../world/clock.ts'
import { canWrite, isLive } from '../world/copies.ts'
import type { SimNode, World } from '../world/world.ts'
import { violate } from './violations.ts'

/** A proof says that everything on a node has stopped: it is false while a copy there can write, whether anybody acts on it or not. */
export function checkProofs(world: World, node: SimNode): void {
  const { state } = node
  const membership = state?.durable.membership
  const { latest } = world.observer
  if (!state || !membership || !latest || fencedNodes(membership).length === 0) return
  for (const copy of world.copies) {
    const holder = world.nodes[copy.node]
    const member = holder && memberOf(membership, holder.name)
    if (member?.standing !== 'fenced') continue
    // What an agent knows of a fence that is over is nobody's proof.
    const now = memberOf(latest, member.node)
    if (now?.standing !== 'fenced' || now.lastFence !== member.lastFence || !canWrite(world, copy)) continue
    const proof = nodeProof(state, member.node, readClock(node.clock, world.timeline.nowMs))
    if (proof.isProved)
      violate(
        world,
        'P1 single writer',
        `${node.name} has a proof that ${member.node} has stopped (${proof.kind}: ${proof.text}), but vm${copy.vm} can write there`,
      )
  }
}

/** A voter that promised answers nothing lower any more. */
export function checkPromise(world: World, node: SimNode, before: Durable, after: Durable): void {
  if (before.promised === after.promised || before.membership !== after.membership) return
  if (before.promised && after.promised && compareBallots(after.promised, before.promised) < 0)
    violate(world, 'P2 single survivor', `${node.name} promised a lower ballot after a higher one`)
}

/** Nor does the register, which stands for one. */
export function checkRegister(world: World, before: Register, after: Register): void {
  if (before.incarnation !== after.incarnation || !before.accepted || !after.accepted) return
  if (before.accepted.membership.epoch !== after.accepted.membership.epoch) return
  if (compareBallots(after.accepted.ballot, before.accepted.ballot) < 0)
    violate(
      world,
      'P2 single survivor',
      `the register's ballot went back in epoch ${after.accepted.membership.epoch}: a higher one is erased`,
    )
}

/** Asked after a step that took in a message: what waited for the disk was decided before. */
export function checkAcks(world: World, node: SimNode, effects: readonly Effect[]): void {
  const accepted = node.state?.durable.accepted
  if (!accepted) return
  for (const effect of effects)
    if (
      effect.kind === 'send' &&
      effect.message.kind === 'ack' &&
      effect.to !== node.name &&
      memberOf(accepted.membership, effect.to)?.standing === 'fenced'
    )
      violate(world, 'P1 single writer', `${node.name} acks ${effect.to}, whose fence it accepted`)
}

/** Nothing that ran before its fence is left on a node that may run again. */
export function checkUnfenced(world: World, membership: Membership): void {
  if (membership.cause.kind !== 'unfence') return
  for (const name of membership.cause.nodes) {
    const index = world.nodeByName.get(name)?.index
    const fencedAtMs = world.observer.chosenAtMs.get(memberOf(membership, name)?.lastFence ?? 0) ?? -Infinity
    for (const copy of world.copies)
      if (copy.node === index && isLive(copy) && copy.sinceMs < fencedAtMs)
        violate(world, 'P1 single writer', `${name} is un-fenced while vm${copy.vm} is ${copy.state} there, as before its fence`)
  }
}
