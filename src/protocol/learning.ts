/** Learning an epoch, and knowing that it is installed (docs/protocol/membership.md, "Learning", "Installed"). Pure. */
import type { NodeId } from './ids.ts'
import {
  digestOf,
  epochBeforeFence,
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
import { type FenceView, newEpoch, newFence } from './epoch.ts'
import { changeDurable, emitLearned, note, type Outbox, send } from './outbox.ts'
import type { ProcessState } from './process.ts'
import { grantSelf, mayRunUntilMs, reviewContainment } from './running.ts'
import type { Requests, State } from './state.ts'

/** Takes over a higher epoch, to disk first; with it all doors. A lower one is ignored for ever. */
export function learn(state: State, out: Outbox, membership: Membership, nowMs: number): void {
  const before = state.durable.membership
  if (before && before.clusterId !== membership.clusterId) {
    if (!state.epoch.hasConflict) note(out, 'conflict', `a membership of another cluster (${membership.clusterId}) was offered and refused`)
    return
  }
  if (before && membership.epoch <= before.epoch) {
    if (membership.epoch === before.epoch && digestOf(membership) !== digestOf(before)) declareConflict(state, out, membership)
    return
  }
  const next = newEpoch({
    nowMs,
    isInstalled: false,
    hasAccepted: false,
    carriedUntilMs: Math.min(mayRunUntilMs(state), nowMs + state.timings.permitMs),
    votesSinceEpoch: votesSince(state, before, membership),
    fences: fencesOf(state, before, membership, nowMs),
  })
  changeDurable(state, out, { membership, promised: null, accepted: null })
  state.epoch = next
  beginInProcess(state.process, before, membership, nowMs)
  answerRequests(state.requests, membership)
  grantSelf(state)
  note(out, 'learned', `epoch ${membership.epoch} (${membership.cause.kind})`)
  emitLearned(state, out, { kind: 'learned', membership, before })
  reviewContainment(state, out, nowMs)
  noteInstalled(state, out, nowMs)
}

/** What is known of the fences that go on, and nothing yet of those that are new. */
function fencesOf(state: State, before: Membership | null, membership: Membership, nowMs: number): ReadonlyMap<NodeId, FenceView> {
  const { attempt } = state.epoch
  const isProposer = attempt?.phase === 'accept' && digestOf(attempt.value) === digestOf(membership)
  // Who proposed a fence knew the epoch before to be installed since then; who only learns of it counts from now.
  const floorMs = isProposer ? state.epoch.installedAtMs : Math.max(state.process.startedAtMs, nowMs)
  const fences = new Map<NodeId, FenceView>()
  for (const { node, standing, lastFence } of membership.members) {
    if (standing !== 'fenced') continue
    const view = state.epoch.fences.get(node)
    // By epoch, not by standing: who slept through an un-fence finds the node fenced as before, and what it knew of the old fence proves nothing.
    const isSame = before !== null && memberOf(before, node)?.lastFence === lastFence
    if (view && isSame) fences.set(node, view)
    else {
      const fencedFrom = epochBeforeFence(membership, node)
      fences.set(node, newFence(floorMs, before?.epoch === fencedFrom ? state.epoch.votesSinceEpoch : fencedFrom))
    }
  }
  return fences
}

/** What a new epoch changes of that which outlives it. */
function beginInProcess(process: ProcessState, before: Membership | null, membership: Membership, nowMs: number): void {
  // In sync since before it was let back says nothing: its kernel may not have noticed yet that it was cut off.
  if (before)
    for (const { node, standing } of membership.members) {
      const contact = process.contacts.get(node)
      if (contact && contact.inSyncSinceMs !== Infinity && standing === 'observing' && memberOf(before, node)?.standing !== 'observing')
        contact.inSyncSinceMs = nowMs
    }
  // Who knew no members heard none, and was heard by none: the time before is nobody's silence.
  else process.awakeSinceMs = nowMs
  // Said at once: until the others know that it is installed, nothing may follow it.
  process.heartbeatAtMs = -Infinity
  // And the witness is read at once: its ack in this epoch may be the one that the permit lacks.
  process.witness.askedAtMs = -Infinity
  for (const [node, { incarnation }] of process.joins)
    if (memberOf(membership, node)?.incarnation === incarnation) process.joins.delete(node)
}

function answerRequests(requests: Requests, membership: Membership): void {
  for (const node of requests.unfence.keys()) if (memberOf(membership, node)?.standing !== 'fenced') requests.unfence.delete(node)
  requests.confirmedDead.clear()
}

/** Of what happened in epochs that it slept through a node knows the votes before the last one only. */
function votesSince(state: State, before: Membership | null, membership: Membership): number {
  if (!isSameVotes(votesOf(membership), votesBeforeOf(membership))) return membership.epoch
  return before?.epoch === membership.epoch - 1 ? state.epoch.votesSinceEpoch : membership.epoch - 1
}

/** The same number with another content: two forced epochs. Nobody may run until a person picks. */
export function declareConflict(state: State, out: Outbox, other: Membership): void {
  if (state.epoch.hasConflict) return
  state.epoch.hasConflict = true
  note(out, 'conflict', `two memberships of epoch ${other.epoch}: this node contains itself until an operator picks one`)
}

/** Who is known to have learned the present epoch, or a higher one. */
function hasLearned(state: State, membership: Membership, voters: Votes): (voter: string) => boolean {
  const learned = new Set<string>([nodeVoter(state.self.node, state.self.incarnation)])
  for (const [node, contact] of state.process.contacts)
    if (contact.incarnation !== null && contact.epoch >= membership.epoch) learned.add(nodeVoter(node, contact.incarnation))
  const { register } = state.process.witness
  if (
    register &&
    !state.process.witness.isStale &&
    register.membership.epoch >= membership.epoch &&
    voters.has(witnessVoter(register.incarnation))
  )
    learned.add(witnessVoter(register.incarnation))
  return (voter) => learned.has(voter)
}

/** Notes the moment from which the present epoch is known to be installed: majorities of both its votes and those before learned it. */
export function noteInstalled(state: State, out: Outbox, nowMs: number): void {
  const membership = state.durable.membership
  if (!membership || state.epoch.isInstalled || state.disk.persistedVersion < state.disk.version) return
  const before = votesBeforeOf(membership)
  const now = votesOf(membership)
  if (!isMajority(now, hasLearned(state, membership, now))) return
  // Who was declared dead will not say that it learned a forced epoch.
  if (!isForced(membership) && !isMajority(before, hasLearned(state, membership, before))) return
  state.epoch.isInstalled = true
  state.epoch.installedAtMs = nowMs
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
