/** Learning an epoch, and knowing that it is installed (docs/protocol/membership.md, "Learning", "Installed"). Pure. */
import type { NodeId } from './ids.ts'
import {
  digestOf,
  epochBeforeFence,
  fencedNodes,
  isForced,
  isMajority,
  isSameVotes,
  type Membership,
  memberOf,
  nodeVoter,
  type Votes,
  votesBeforeOf,
  votesOf,
  witnessVoter,
} from './membership.ts'
import { contactOf } from './contact.ts'
import { changeDurable, emitLearned, note, type Outbox, send } from './outbox.ts'
import { grantSelf, mayRunUntilMs, reviewContainment } from './running.ts'
import type { State } from './state.ts'

/** Takes over a higher epoch, to disk first; with it all doors. A lower one is ignored for ever. */
export function learn(state: State, out: Outbox, membership: Membership, nowMs: number): void {
  const before = state.durable.membership
  if (before && before.clusterId !== membership.clusterId) {
    if (!state.hasConflict) note(out, 'conflict', `a membership of another cluster (${membership.clusterId}) was offered and refused`)
    return
  }
  if (before && membership.epoch <= before.epoch) {
    if (membership.epoch === before.epoch && digestOf(membership) !== digestOf(before)) declareConflict(state, out, membership)
    return
  }
  const floorMs = Math.max(state.startedAtMs, nowMs)
  const proposed = state.attempt?.phase === 'accept' && digestOf(state.attempt.value) === digestOf(membership)
  const carriedMs = Math.min(mayRunUntilMs(state), nowMs + state.timings.permitMs)
  for (const { node, standing, lastFence } of membership.members) {
    if (standing !== 'fenced') continue
    // By epoch, not by standing: who slept through an un-fence finds the node fenced as before, and what it knew of the old fence proves nothing.
    const known = before && memberOf(before, node)
    if (known?.standing === 'fenced' && known.lastFence === lastFence) continue
    forgetFence(state, node)
    const fencedFrom = epochBeforeFence(membership, node)
    state.votesSinceAtFence.set(node, before?.epoch === fencedFrom ? state.votesSinceEpoch : fencedFrom)
    // Who proposed a fence knew the epoch before to be installed since then; who only learns of it counts from now.
    state.floorMs.set(node, proposed ? state.installedAtMs : floorMs)
  }
  // In sync since before it was let back says nothing: its kernel may not have noticed yet that it was cut off.
  if (before)
    for (const { node, standing } of membership.members) {
      const contact = state.contacts.get(node)
      if (contact && contact.inSyncSinceMs !== Infinity && standing === 'observing' && memberOf(before, node)?.standing !== 'observing')
        contact.inSyncSinceMs = nowMs
    }
  state.votesSinceEpoch = votesSince(state, before, membership)
  changeDurable(state, out, { membership, promised: null, accepted: null })
  state.acceptedSinceMs = Infinity
  // Counted anew for the next epoch, or no-op follows no-op.
  state.registerAcceptedSinceMs = Infinity
  state.attempt = null
  state.failedAttempts = 0
  state.learnedAtMs = nowMs
  // Who knew no members heard none, and was heard by none: the time before is nobody's silence.
  if (!before) state.awakeSinceMs = nowMs
  // Said at once: until the others know that it is installed, nothing may follow it.
  state.heartbeatAtMs = -Infinity
  // And the witness is read at once: its ack in this epoch may be the one that the permit lacks.
  state.witness.askedAtMs = -Infinity
  state.isInstalled = false
  state.installedAtMs = Infinity
  state.grants.clear()
  state.carriedUntilMs = carriedMs
  state.hasConflict = false
  for (const node of state.unfence.keys()) if (memberOf(membership, node)?.standing !== 'fenced') state.unfence.delete(node)
  state.confirmedDead.clear()
  for (const node of state.joins.keys())
    if (memberOf(membership, node)?.incarnation === state.joins.get(node)?.incarnation) state.joins.delete(node)
  const fenced = new Set<NodeId>(fencedNodes(membership))
  for (const node of state.floorMs.keys()) if (!fenced.has(node)) forgetFence(state, node)
  grantSelf(state)
  note(out, 'learned', `epoch ${membership.epoch} (${membership.cause.kind})`)
  emitLearned(state, out, { kind: 'learned', membership, before })
  reviewContainment(state, out, nowMs)
  noteInstalled(state, out, nowMs)
}

/** Of what happened in epochs that it slept through a node knows the votes before the last one only. */
function votesSince(state: State, before: Membership | null, membership: Membership): number {
  if (!isSameVotes(votesOf(membership), votesBeforeOf(membership))) return membership.epoch
  return before?.epoch === membership.epoch - 1 ? state.votesSinceEpoch : membership.epoch - 1
}

function forgetFence(state: State, node: NodeId): void {
  state.votesSinceAtFence.delete(node)
  state.floorMs.delete(node)
  state.humanProof.delete(node)
  state.witness.doorAtMs.delete(node)
  for (const doors of state.doors.values()) doors.delete(node)
}

/** The same number with another content: two forced epochs. Nobody may run until a person picks. */
export function declareConflict(state: State, out: Outbox, other: Membership): void {
  if (state.hasConflict) return
  state.hasConflict = true
  note(out, 'conflict', `two memberships of epoch ${other.epoch}: this node contains itself until a person picks one`)
}

/** Who is known to have learned the present epoch, or a higher one. */
function hasLearned(state: State, membership: Membership, voters: Votes): (voter: string) => boolean {
  const learned = new Set<string>([nodeVoter(state.self.node, state.self.incarnation)])
  for (const [node, contact] of state.contacts)
    if (contact.incarnation !== null && contact.epoch >= membership.epoch) learned.add(nodeVoter(node, contact.incarnation))
  const { register } = state.witness
  if (register && !state.witness.isStale && register.membership.epoch >= membership.epoch && voters.has(witnessVoter(register.incarnation)))
    learned.add(witnessVoter(register.incarnation))
  return (voter) => learned.has(voter)
}

/** Notes the moment from which the present epoch is known to be installed: majorities of both its votes and those before learned it. */
export function noteInstalled(state: State, out: Outbox, nowMs: number): void {
  const membership = state.durable.membership
  if (!membership || state.isInstalled || state.persistedVersion < state.durableVersion) return
  const before = votesBeforeOf(membership)
  const now = votesOf(membership)
  if (!isMajority(now, hasLearned(state, membership, now))) return
  // Who was declared dead will not say that it learned a forced epoch.
  if (!isForced(membership) && !isMajority(before, hasLearned(state, membership, before))) return
  state.isInstalled = true
  state.installedAtMs = nowMs
  changeDurable(state, out, { installedEpoch: membership.epoch })
}

/** Sends the membership to a peer that is behind, not more often than a few times a second. */
export function teach(state: State, out: Outbox, node: NodeId, nowMs: number): void {
  const membership = state.durable.membership
  const contact = contactOf(state, node)
  if (!membership || nowMs - contact.learnSentAtMs < state.timings.heartbeatMs / 2) return
  contact.learnSentAtMs = nowMs
  send(state, out, node, { kind: 'learn', membership })
}
