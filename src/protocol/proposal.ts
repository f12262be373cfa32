/** What this agent would have the next epoch change, if anything (docs/protocol/README.md, "A fence, step by step", docs/protocol/membership.md, "Vote shift"). Pure. */
import type { NodeId, Room } from './ids.ts'
import {
  forcedEpoch,
  isForced,
  isSuccessor,
  type Member,
  type Membership,
  memberOf,
  nextEpoch,
  withMaintenance,
  withStanding,
} from './membership.ts'
import { contactOf, isHeard, isMember, rankOf, type Suspects, suspects } from './contact.ts'
import { note, type Outbox } from './outbox.ts'
import { isSeatSeen, propose } from './proposer.ts'
import { hasPermit } from './running.ts'
import type { State } from './state.ts'
import { vetoOf } from './veto.ts'
import { hearsEveryRoom, isWitnessInReach } from './witness-view.ts'

/** Agents of a higher rank wait this many heartbeats a rank longer, so that one proposes and the others need not. */
const STAGGER_HEARTBEATS = 0.8

/** What a person said is acted on for so many attempts, or said again. */
const FRESH_FOR_ATTEMPTS = 8

/** Starts at most one attempt: first what is half finished, then a fence, then what people and nodes ask for. */
export function proposeNext(state: State, out: Outbox, nowMs: number): void {
  const membership = state.durable.membership
  if (!membership || state.epoch.attempt || nowMs < state.process.nextAttemptAtMs || state.epoch.hasConflict) return
  if (memberOf(membership, state.self.node)?.standing === 'fenced') return
  if (!isMember(membership, state.self.node, state.self.incarnation)) return
  const accepted = [state.durable.accepted, state.process.witness.register?.accepted].find(
    (one) => one && isForced(one.membership) && isSuccessor(membership, one.membership),
  )
  if (accepted && memberOf(accepted.membership, state.self.node)?.standing !== 'fenced') {
    if (lingering(state, nowMs) && isTurn(state, membership, 'finish', nowMs))
      propose(state, out, membership, accepted.membership, true, nowMs)
    return
  }
  const forced = forcedProposal(state, membership, nowMs)
  if (forced) return proposeOnce(state, out, membership, forced, nowMs)
  if (!state.epoch.isInstalled) return
  const half = lingering(state, nowMs)
  if (half) {
    if (isTurn(state, membership, 'finish', nowMs))
      propose(state, out, membership, nextEpoch(membership, { cause: { kind: 'no-op' } }), true, nowMs)
    return
  }
  if (!hasPermit(state, nowMs) || nowMs - state.process.awakeSinceMs < state.timings.heartbeatMs) return
  const silent = suspects(state, membership, nowMs)
  noteSuppressed(state, out, membership, silent)
  const proposal = nextProposal(state, membership, silent, nowMs)
  if (!proposal) {
    state.process.proposalKey = ''
    return
  }
  proposeOnce(state, out, membership, proposal, nowMs)
}

/** What a person or a brake keeps from being fenced is told: who forgot it must find it in the log. */
function noteSuppressed(state: State, out: Outbox, now: Membership, { nodes: silent, rooms }: Suspects): void {
  const isSuspended = now.fencingPausedBy !== null
  const nodes = isSuspended ? silent : silent.filter((node) => !isWithinBrake(state, now, silent, rooms, node))
  if (nodes.length === 0) return
  const why = isSuspended
    ? `fencing is suspended by ${now.fencingPausedBy}: roomfence resume`
    : `with them more than the share of ${state.brakes.maxFencedShareOfRoom} of a room that lives would be fenced: failover.maxFencedShareOfRoom`
  const text = `${nodes.join(', ')} silent, but ${why}`
  if (text === state.process.lastVeto) return
  state.process.lastVeto = text
  note(out, 'veto', text, nodes)
}

function proposeOnce(state: State, out: Outbox, membership: Membership, proposal: Membership, nowMs: number): void {
  if (!isTurn(state, membership, `${proposal.cause.kind}:${JSON.stringify(proposal.cause)}`, nowMs)) return
  // One's own reasons against it count first: an agent that would not vote for it has nothing to ask the others.
  const veto = vetoOf(state, membership, proposal, nowMs)
  if (veto !== null) {
    state.process.nextAttemptAtMs = nowMs + 2 * state.timings.heartbeatMs
    if (veto !== state.process.lastVeto)
      note(out, state.brakes.isDryRun ? 'would-propose' : 'veto', `epoch ${proposal.epoch} (${proposal.cause.kind}): ${veto}`)
    state.process.lastVeto = veto
    return
  }
  propose(state, out, membership, proposal, false, nowMs)
}

/** An accepted value, here or in the witness, that nobody learned for a while. */
function lingering(state: State, nowMs: number): boolean {
  const sinceMs = Math.min(state.durable.accepted ? state.epoch.acceptedSinceMs : Infinity, state.epoch.registerAcceptedSinceMs)
  return nowMs - sinceMs > state.timings.lingerMs
}

function isTurn(state: State, membership: Membership, key: string, nowMs: number): boolean {
  if (state.process.proposalKey !== key) {
    state.process.proposalKey = key
    state.process.proposalSinceMs = nowMs
  }
  return nowMs - state.process.proposalSinceMs >= rankOf(state, membership, nowMs) * STAGGER_HEARTBEATS * state.timings.heartbeatMs
}

function nextProposal(state: State, now: Membership, silent: Suspects, nowMs: number): Membership | null {
  return (
    suspensionProposal(state, now, nowMs) ??
    fenceProposal(state, now, silent) ??
    unfenceProposal(state, now, nowMs) ??
    maintenanceProposal(state, now, nowMs) ??
    // Before the witness: the vote of an incarnation that is gone may be the one that its return lacks.
    joinProposal(state, now, nowMs) ??
    witnessProposal(state, now, nowMs) ??
    votesProposal(state, now, nowMs)
  )
}

function fenceProposal(state: State, now: Membership, { nodes: silent, rooms }: Suspects): Membership | null {
  if (now.fencingPausedBy !== null) return null
  const nodes = silent.filter((node) => isWithinBrake(state, now, silent, rooms, node))
  if (nodes.length === 0) return null
  const reason = rooms.length > 0 ? `room ${rooms.join(', ')} silent on every path` : `${nodes.join(', ')} silent on every path`
  return nextEpoch(now, { members: withStanding(now, nodes, 'fenced'), cause: { kind: 'fence', nodes, by: state.self.node, reason } })
}

/**
 * The epoch that a person's word stands in for the missing votes of. Only without a permit: who has a majority fences as always. Neither the
 * epoch before need be installed nor its other votes agree.
 */
function forcedProposal(state: State, now: Membership, nowMs: number): Membership | null {
  if (state.requests.confirmedDead.size === 0 || hasPermit(state, nowMs)) return null
  const nodes: NodeId[] = []
  let by = ''
  for (const { node, standing } of now.members) {
    const word = state.requests.confirmedDead.get(node)
    if (!word || standing === 'fenced' || !isFresh(state, word.requestedAtMs, nowMs)) continue
    nodes.push(node)
    by = word.by
  }
  if (nodes.length === 0) return null
  return forcedEpoch(now, nodes, by)
}

const isFresh = ({ timings }: State, saidAtMs: number, nowMs: number): boolean => nowMs - saidAtMs <= FRESH_FOR_ATTEMPTS * timings.attemptMs

function suspensionProposal(state: State, now: Membership, nowMs: number): Membership | null {
  const word = state.requests.suspension
  if (!word || !isFresh(state, word.requestedAtMs, nowMs) || word.isSuspended === (now.fencingPausedBy !== null)) return null
  const { isSuspended, by } = word
  return nextEpoch(now, { fencingPausedBy: isSuspended ? by : null, cause: { kind: isSuspended ? 'pause-fencing' : 'resume-fencing', by } })
}

/** One direction and one person's word at a time; the rest follows in the next epoch. */
function maintenanceProposal(state: State, now: Membership, nowMs: number): Membership | null {
  if (state.requests.maintenance.size === 0) return null
  const open = now.members.flatMap(({ node, isInMaintenance }) => {
    const word = state.requests.maintenance.get(node)
    return word && isFresh(state, word.requestedAtMs, nowMs) && word.isOn !== isInMaintenance ? [{ node, word }] : []
  })
  const [first] = open
  if (!first) return null
  const { isOn, by } = first.word
  const nodes = open.filter(({ word }) => word.isOn === isOn && word.by === by).map(({ node }) => node)
  return nextEpoch(now, { members: withMaintenance(now, nodes, isOn), cause: { kind: 'maintenance', nodes, isOn, by } })
}

/** Single nodes beyond the share of their room are left out, so that they hold up no other fence. */
function isWithinBrake(state: State, now: Membership, silent: readonly NodeId[], rooms: readonly Room[], node: NodeId): boolean {
  const room = memberOf(now, node)?.room
  if (room === undefined || rooms.includes(room)) return true
  const members = now.members.filter((member) => member.room === room)
  const fenced = members.filter(({ standing }) => standing === 'fenced').length
  const place = members.filter((member) => silent.includes(member.node)).findIndex((member) => member.node === node)
  return fenced + place + 1 <= state.brakes.maxFencedShareOfRoom * members.length
}

function unfenceProposal(state: State, now: Membership, nowMs: number): Membership | null {
  const nodes: NodeId[] = []
  let by = ''
  for (const [node, request] of state.requests.unfence) {
    const member = memberOf(now, node)
    const { statement, incarnation } = contactOf(state, node)
    if (member?.standing !== 'fenced' || !isHeard(state, node, nowMs) || incarnation !== member.incarnation) continue
    // Its checks were of that moment: a request that could not be carried out then is made again, not kept for later.
    if (!isFresh(state, request.requestedAtMs, nowMs)) continue
    if (!statement || statement.killedEpoch < member.lastFence) continue
    nodes.push(node)
    by = request.by
  }
  return nodes.length === 0
    ? null
    : nextEpoch(now, { members: withStanding(now, nodes, 'observing'), cause: { kind: 'unfence', nodes, by } })
}

function witnessProposal(state: State, now: Membership, nowMs: number): Membership | null {
  const seat = now.witness
  if (!seat) return null
  const { witnessShiftMs, witnessReturnMs } = state.timings
  const view = state.process.witness
  if (seat.isVoting) {
    const lostForMs = nowMs - Math.max(view.ackedAtMs, state.process.awakeSinceMs, state.epoch.learnedAtMs)
    // A register of the seat's incarnation before this one is about to be written anew: not lost again.
    const isRestored = view.isStale && (view.register?.incarnation === seat.incarnation || isSeatSeen(state))
    const isLost = lostForMs > witnessShiftMs || (isRestored && nowMs - view.currentSinceMs > 2 * state.timings.witnessReadMs)
    if (!isLost || !hearsEveryRoom(state, now, nowMs)) return null
    return nextEpoch(now, { witness: { ...seat, isVoting: false }, cause: { kind: 'vote-shift', witness: 'out' } })
  }
  const isCurrent = view.register !== null && (view.isStale || view.register.membership.epoch === now.epoch)
  if (!isCurrent || !isWitnessInReach(state, nowMs) || nowMs - view.currentSinceMs < witnessReturnMs || !hearsEveryRoom(state, now, nowMs))
    return null
  const incarnation = view.isStale ? `w${now.epoch + 1}` : seat.incarnation
  return nextEpoch(now, { witness: { incarnation, isVoting: true }, cause: { kind: 'vote-shift', witness: 'in' } })
}

/** Nodes that run without a vote get it when every unfenced node of their room is heard and in sync for a while. */
function votesProposal(state: State, now: Membership, nowMs: number): Membership | null {
  const isSettled = ({ node, incarnation }: Member): boolean => {
    if (node === state.self.node) return state.process.isInSync
    const contact = contactOf(state, node)
    return contact.incarnation === incarnation && isHeard(state, node, nowMs) && nowMs - contact.inSyncSinceMs >= state.timings.settleMs
  }
  const nodes: NodeId[] = []
  for (const member of now.members) {
    if (member.standing !== 'observing' || member.isInMaintenance) continue
    const hasVoters = now.members.some((other) => other.room === member.room && other.standing === 'voting')
    const needed = hasVoters
      ? [member]
      : now.members.filter((other) => other.room === member.room && other.standing === 'observing' && !other.isInMaintenance)
    if (needed.every(isSettled)) nodes.push(member.node)
  }
  return nodes.length === 0 ? null : nextEpoch(now, { members: withStanding(now, nodes, 'voting'), cause: { kind: 'votes-back', nodes } })
}

/** A new node, or one that lost its disk and is another incarnation now. A fenced one stays fenced. */
function joinProposal(state: State, now: Membership, nowMs: number): Membership | null {
  for (const [node, join] of state.process.joins) {
    if (nowMs - join.atMs > state.timings.detectMs) continue
    const before = memberOf(now, node)
    if (before?.incarnation === join.incarnation) continue
    const member: Member = {
      node,
      room: join.room,
      incarnation: join.incarnation,
      addresses: join.addresses,
      standing: before?.standing === 'fenced' ? 'fenced' : 'observing',
      lastFence: before?.lastFence ?? (0 as Member['lastFence']),
      isInMaintenance: before?.isInMaintenance ?? false,
    }
    return nextEpoch(now, {
      members: [...now.members.filter((other) => other.node !== node), member],
      cause: { kind: 'join', nodes: [node] },
    })
  }
  return null
}
