/** The voter's half of choosing an epoch: promises and accepted values, on disk before they are answered (docs/protocol/choosing.md). Pure. */
import type { NodeId } from './ids.ts'
import { epochBeforeFence, fencedNodes, isForced, isSuccessor, memberOf, type Membership, nodeVoter, votesOf } from './membership.ts'
import type { Accept, Ballot, DoorStatement, Prepare, RefusalReason } from './messages.ts'
import { contactOf } from './contact.ts'
import { teach } from './learning.ts'
import { changeDurable, note, type Outbox, send } from './outbox.ts'
import type { State } from './state.ts'
import { vetoOf } from './veto.ts'

export function compareBallots(a: Ballot, b: Ballot): number {
  if (a.round !== b.round) return a.round - b.round
  if (a.node !== b.node) return a.node < b.node ? -1 : 1
  return a.incarnation < b.incarnation ? -1 : a.incarnation > b.incarnation ? 1 : 0
}

function isVoter(state: State, membership: Membership): boolean {
  return votesOf(membership).has(nodeVoter(state.self.node, state.self.incarnation))
}

/** The present membership if `next` may follow it; otherwise tells the sender, or asks it. */
function membershipBefore(state: State, out: Outbox, from: NodeId, next: Membership, nowMs: number): Membership | null {
  const membership = state.durable.membership
  if (!membership) return null
  if (next.epoch <= membership.epoch) {
    teach(state, out, from, nowMs)
    return null
  }
  if (!isSuccessor(membership, next)) {
    send(state, out, from, { kind: 'want', epoch: membership.epoch })
    return null
  }
  return membership
}

const FORCED_FIRST = 'a forced epoch was accepted here and comes first'

/** A forced value may have been chosen without the votes that another value would be chosen with: it is never exchanged for a lower one. */
const isBehindForced = ({ durable }: State, value: Membership): boolean =>
  durable.accepted !== null && isForced(durable.accepted.membership) && value.epoch < durable.accepted.membership.epoch

export function onPrepare(state: State, out: Outbox, from: NodeId, { ballot, proposal, isFinishing }: Prepare, nowMs: number): void {
  const membership = membershipBefore(state, out, from, proposal, nowMs)
  if (!membership || (!isVoter(state, membership) && !isVoter(state, proposal))) return
  const refuse = (reason: RefusalReason): void => send(state, out, from, { kind: 'refusal', ballot, epoch: proposal.epoch, reason })
  const { promised } = state.durable
  if (promised && compareBallots(ballot, promised) < 0) return refuse({ code: 'ballot', promised })
  const veto = isBehindForced(state, proposal)
    ? FORCED_FIRST
    : isFinishing && !state.brakes.isDryRun
      ? null
      : vetoOf(state, membership, proposal, nowMs)
  if (veto !== null) {
    if (from !== state.self.node) note(out, 'veto', veto)
    return refuse({ code: 'veto', text: veto })
  }
  changeDurable(state, out, { promised: ballot, round: Math.max(state.durable.round, ballot.round) })
  // Room for the one that was first: rivals that outbid each other held up a fence for seven seconds.
  if (from !== state.self.node) state.process.nextAttemptAtMs = Math.max(state.process.nextAttemptAtMs, nowMs + state.timings.attemptMs)
  send(state, out, from, { kind: 'promise', ballot, epoch: proposal.epoch, accepted: state.durable.accepted })
}

/** From here on this voter's door to every node that the value fences is closed. */
export function onAccept(state: State, out: Outbox, from: NodeId, { ballot, membership: value }: Accept, nowMs: number): void {
  const membership = membershipBefore(state, out, from, value, nowMs)
  if (!membership || (!isVoter(state, membership) && !isVoter(state, value))) return
  if (state.brakes.isDryRun || memberOf(value, state.self.node)?.standing === 'fenced') return
  const { promised } = state.durable
  if (isBehindForced(state, value))
    return send(state, out, from, { kind: 'refusal', ballot, epoch: value.epoch, reason: { code: 'veto', text: FORCED_FIRST } })
  if (promised && compareBallots(ballot, promised) < 0)
    return send(state, out, from, { kind: 'refusal', ballot, epoch: value.epoch, reason: { code: 'ballot', promised } })
  changeDurable(state, out, {
    promised: ballot,
    accepted: { ballot, membership: value },
    round: Math.max(state.durable.round, ballot.round),
  })
  if (state.epoch.acceptedSinceMs === Infinity) state.epoch.acceptedSinceMs = nowMs
  const fenced = fencedNodes(value)
  if (fenced.length > 0) note(out, 'door-closed', `acks ${fenced.join(', ')} no more`, fenced)
  send(state, out, from, { kind: 'accepted', ballot, epoch: value.epoch })
}

/** Whether this voter may ack `node`: not once it accepted or learned a membership that fences it. */
export function isDoorOpen(state: State, node: NodeId): boolean {
  const { membership, accepted } = state.durable
  if (!membership || memberOf(membership, node)?.standing === 'fenced') return false
  return accepted === null || memberOf(accepted.membership, node)?.standing !== 'fenced'
}

/**
 * What this voter knows of the right to run of the nodes that are fenced in the membership it learned. A value that was only accepted says
 * nothing: its door may open again, and close again for another ballot.
 */
export function doorStatements(state: State, nowMs: number): readonly DoorStatement[] {
  const { membership } = state.durable
  if (!membership) return []
  return fencedNodes(membership).map((node) => {
    const contact = contactOf(state, node)
    const fence = state.epoch.fences.get(node)
    // What it said of its watchdog while other votes counted it may have taken back before a majority of those; a withdrawal before a majority of the votes
    // that fenced it has a voter in common with the fence.
    const statedInTime = contact.epoch >= (fence?.votesSinceEpoch ?? epochBeforeFence(membership, node))
    return {
      node,
      ackedAgoMs: nowMs - Math.max(contact.ackedAtMs, state.process.startedAtMs),
      installedAgoMs: nowMs - (fence?.floorMs ?? nowMs),
      watchdogMs: statedInTime ? (contact.statement?.watchdogMs ?? null) : null,
    }
  })
}
