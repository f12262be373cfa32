/** The proposer's half of choosing an epoch (docs/protocol/choosing.md, "Arbitrate"): prepare, ask the witness last, accept, tell. Pure. */
import type { NodeId } from './ids.ts'
import {
  digestOf,
  isDecidedBy,
  isMajority,
  memberOf,
  type Membership,
  newlyFenced,
  nodeVoter,
  type VoterKey,
  votesOf,
  witnessVoter,
} from './membership.ts'
import type { AcceptedAnswer, Ballot, PromiseAnswer, Refusal, Register, WitnessAnswer } from './messages.ts'
import { compareBallots } from './acceptor.ts'
import { isHeard } from './contact.ts'
import type { Attempt } from './epoch.ts'
import { learn } from './learning.ts'
import { askWitness, changeDurable, note, type Outbox, send } from './outbox.ts'
import type { State } from './state.ts'

/** How long a proposer waits for promises before it concludes that the witness's vote is needed, in heartbeats. */
const PROMISE_WAIT_HEARTBEATS = 0.6
const MAX_BACKOFF_DOUBLINGS = 3
/** Who must not finish a value stays out of the way of those who can, this many linger times. */
const OTHERS_FINISH_LINGERS = 3

function random(state: State): number {
  let x = state.process.random || 0x9e3779b9
  x ^= x << 13
  x ^= x >>> 17
  x ^= x << 5
  state.process.random = x >>> 0
  return state.process.random / 4294967296
}

export function propose(state: State, out: Outbox, now: Membership, proposal: Membership, isFinishing: boolean, nowMs: number): void {
  const ballot: Ballot = { round: state.durable.round + 1, node: state.self.node, incarnation: state.self.incarnation }
  changeDurable(state, out, { round: ballot.round })
  state.epoch.attempt = {
    ballot,
    proposal,
    isFinishing,
    startedAtMs: nowMs,
    phase: 'prepare',
    phaseAtMs: nowMs,
    value: proposal,
    highest: null,
    hasAdopted: false,
    asked: new Set(),
    promises: new Set(),
    unbound: new Set(),
    ruledOut: 'no',
    accepts: new Set(),
    witnessRequestId: 0,
    swappedAtMs: null,
  }
  note(out, isFinishing ? 'finishing' : 'proposing', describe(now, proposal))
  ask(state, out, now, state.epoch.attempt, proposal, isFinishing)
  if (!isFinishing) return
  for (const known of [state.durable.accepted, state.process.witness.register?.accepted])
    if (known && known.membership.epoch === proposal.epoch) ask(state, out, now, state.epoch.attempt, known.membership, true)
}

/** Whoever votes for `value` in either membership, once: a value that was found may have other voters than what was proposed. */
function ask(state: State, out: Outbox, now: Membership, attempt: Attempt, value: Membership, isFinishing: boolean): void {
  for (const node of voterNodes(now, value)) {
    if (attempt.asked.has(node)) continue
    attempt.asked.add(node)
    send(state, out, node, { kind: 'prepare', ballot: attempt.ballot, proposal: value, isFinishing })
  }
}

const describe = (now: Membership, next: Membership): string => {
  const fenced = newlyFenced(now, next)
  return `epoch ${next.epoch}: ${next.cause.kind}${fenced.length > 0 ? ` of ${fenced.join(', ')}` : ''}`
}

/** Nodes with a vote in either membership, without those that the proposal fences: they never agree. */
function voterNodes(now: Membership, next: Membership): readonly NodeId[] {
  const votes = [votesOf(now), votesOf(next)]
  const nodes = new Set<NodeId>()
  for (const membership of [now, next])
    for (const member of membership.members) {
      const voter = nodeVoter(member.node, member.incarnation)
      if (votes.some((vote) => vote.has(voter)) && memberOf(next, member.node)?.standing !== 'fenced') nodes.add(member.node)
    }
  return [...nodes]
}

function end(state: State, out: Outbox, attempt: Attempt, reason: string, nowMs: number, extraMs = 0): void {
  state.epoch.attempt = null
  // Rivals that raise each other's ballots part by waiting longer each time, each by another chance.
  state.epoch.failedAttempts += 1
  const factor = 2 ** Math.min(state.epoch.failedAttempts - 1, MAX_BACKOFF_DOUBLINGS)
  state.process.nextAttemptAtMs = nowMs + state.timings.heartbeatMs * (0.5 + 2 * random(state) * factor) + extraMs
  note(out, 'attempt-ended', `epoch ${attempt.proposal.epoch}: ${reason}`)
}

export function onPromise(state: State, out: Outbox, voter: VoterKey, message: PromiseAnswer, nowMs: number): void {
  const { attempt } = state.epoch
  if (!attempt || compareBallots(attempt.ballot, message.ballot) !== 0) return
  // The value stands from the swap on: another one accepted under the same ballot would be a second value of it.
  if (attempt.phase === 'accept' || attempt.phase === 'witness-swap') return
  attempt.promises.add(voter)
  if (!message.accepted) attempt.unbound.add(voter)
  else if (attempt.ruledOut === 'no') {
    adopt(attempt, message.accepted.ballot, message.accepted.membership)
    const now = state.durable.membership
    if (now && attempt.hasAdopted) ask(state, out, now, attempt, attempt.value, true)
  }
  advance(state, out, nowMs)
}

function adopt(attempt: Attempt, ballot: Ballot, value: Membership): void {
  if (value.epoch !== attempt.proposal.epoch || (attempt.highest && compareBallots(ballot, attempt.highest) <= 0)) return
  attempt.highest = ballot
  attempt.value = value
  attempt.hasAdopted = true
}

export function onRefusal(state: State, out: Outbox, from: NodeId, { ballot, reason }: Refusal, nowMs: number): void {
  const { attempt } = state.epoch
  if (!attempt || compareBallots(attempt.ballot, ballot) !== 0) return
  if (reason.code === 'ballot') {
    raiseRound(state, out, reason.promised.round)
    return end(state, out, attempt, `${from} promised a higher ballot`, nowMs)
  }
  if (reason.code === 'veto') {
    state.process.lastVeto = reason.text
    return end(state, out, attempt, `veto: ${reason.text}`, nowMs)
  }
}

function raiseRound(state: State, out: Outbox, round: number): void {
  if (round > state.durable.round) changeDurable(state, out, { round })
}

/** Moves the attempt on as far as what is known allows. Called after each answer and at each tick. */
export function advance(state: State, out: Outbox, nowMs: number): void {
  const { attempt } = state.epoch
  const now = state.durable.membership
  if (!attempt || !now) return
  const allowedMs = state.timings.attemptMs + (attempt.phase === 'prepare' ? arbitrationDelayMs(state, now, attempt) : 0)
  if (nowMs - attempt.phaseAtMs > allowedMs) return end(state, out, attempt, `no answer in phase ${attempt.phase}`, nowMs)
  if (attempt.phase === 'prepare') advancePrepare(state, out, now, attempt, nowMs)
  else if (attempt.phase === 'accept') advanceAccept(state, out, now, attempt, nowMs)
}

function advancePrepare(state: State, out: Outbox, now: Membership, attempt: Attempt, nowMs: number): void {
  const { promises, value } = attempt
  if (memberOf(value, state.self.node)?.standing === 'fenced')
    return end(
      state,
      out,
      attempt,
      'the value found fences this node: others finish it',
      nowMs,
      OTHERS_FINISH_LINGERS * state.timings.lingerMs,
    )
  // Who the value fences may promise, but will never accept it.
  const never = fencedVoters(value)
  const has = (voter: VoterKey): boolean => promises.has(voter) && !never.has(voter)
  if (isDecidedBy(now, value, has)) return toAccept(state, out, now, attempt, nowMs)
  const witness = now.witness?.isVoting && !state.process.witness.isStale ? witnessVoter(now.witness.incarnation) : null
  const hasWith = (voter: VoterKey): boolean => voter === witness || has(voter)
  if (witness === null || !isDecidedBy(now, value, hasWith)) return ruleOut(state, out, now, attempt, witness, nowMs)
  const waitMs = state.timings.heartbeatMs * PROMISE_WAIT_HEARTBEATS
  const isAnswered = voterNodes(now, value).every((node) => !isHeard(state, node, nowMs) || promises.has(keyOf(now, node)))
  if (!isAnswered && nowMs - attempt.startedAtMs < waitMs) return
  if (nowMs - attempt.startedAtMs < arbitrationDelayMs(state, now, attempt)) return
  readWitness(state, out, now, attempt, nowMs)
}

/**
 * A value was found that those who answer can never choose: who it fences will not accept it, and others lost their disks. Where the voters that accepted
 * nothing were enough to keep a majority from it, and from every other value, nothing was chosen, and by their promises nothing of a lower ballot will be:
 * then what was proposed stands. Only a no-op is proposed so, which nobody had a reason to object to.
 */
function ruleOut(state: State, out: Outbox, now: Membership, attempt: Attempt, witness: VoterKey | null, nowMs: number): void {
  if (!attempt.isFinishing || !attempt.hasAdopted || nowMs - attempt.phaseAtMs < state.timings.attemptMs / 2) return
  const blocks = (also: VoterKey | null): boolean => !isMajority(votesOf(now), (voter) => voter !== also && !attempt.unbound.has(voter))
  const has = (voter: VoterKey): boolean => attempt.promises.has(voter)
  const isCertain = blocks(null)
  const needsWitness = !isCertain || !isDecidedBy(now, attempt.proposal, has)
  if (
    needsWitness &&
    !(witness !== null && blocks(witness) && isDecidedBy(now, attempt.proposal, (voter) => voter === witness || has(voter)))
  )
    return
  note(out, 'ruled-out', `epoch ${attempt.proposal.epoch}: what was found was never chosen and never will be`)
  attempt.ruledOut = isCertain ? 'yes' : 'ifWitnessHoldsNone'
  attempt.value = attempt.proposal
  attempt.hasAdopted = false
  if (!needsWitness) return toAccept(state, out, now, attempt, nowMs)
  readWitness(state, out, now, attempt, nowMs)
}

function readWitness(state: State, out: Outbox, now: Membership, attempt: Attempt, nowMs: number): void {
  attempt.phase = 'witness-read'
  attempt.phaseAtMs = nowMs
  attempt.witnessRequestId = requestId(state, nowMs)
  askWitness(state, out, { kind: 'read', id: attempt.witnessRequestId, epoch: now.epoch, digest: digestOf(now) })
}

const fencedVoters = (value: Membership): ReadonlySet<VoterKey> =>
  new Set(value.members.filter(({ standing }) => standing === 'fenced').map(({ node, incarnation }) => nodeVoter(node, incarnation)))

const keyOf = (membership: Membership, node: NodeId): VoterKey => {
  const member = memberOf(membership, node)
  return member ? nodeVoter(node, member.incarnation) : (`${node}/` as VoterKey)
}

/** The room that is not preferred asks later, and so does one that could not carry the fence out since it reaches no API server. */
function arbitrationDelayMs(state: State, now: Membership, attempt: Attempt): number {
  if (newlyFenced(now, attempt.value).length === 0 && !attempt.isFinishing) return 0
  const delays = (state.self.room === now.preferredRoom ? 0 : 1) + (state.process.isApiReachable ? 0 : 1.5)
  return state.timings.arbitrationDelayMs * delays
}

export function requestId(state: State, nowMs: number, purpose: 'ack' | 'attempt' | 'teach' = 'attempt'): number {
  const id = state.process.witness.nextId
  state.process.witness.nextId += 1
  state.process.witness.pending.set(id, { sentAtMs: nowMs, purpose })
  return id
}

/** A read is no promise: the value is swapped into the register first, and the others accept only after that swap held. */
export function onWitnessAnswer(state: State, out: Outbox, answer: WitnessAnswer, nowMs: number): void {
  const { attempt } = state.epoch
  const now = state.durable.membership
  if (!attempt || !now || answer.id !== attempt.witnessRequestId) return
  if (answer.kind === 'failed') return end(state, out, attempt, `the witness: ${answer.reason}`, nowMs)
  if (answer.kind === 'conflict') {
    if (answer.register.accepted) raiseRound(state, out, answer.register.accepted.ballot.round)
    return end(state, out, attempt, 'another proposer wrote to the witness first', nowMs)
  }
  if (answer.kind === 'swapped') {
    if (attempt.phase !== 'witness-swap') return
    const seat = now.witness
    if (seat) attempt.accepts.add(witnessVoter(seat.incarnation))
    attempt.swappedAtMs = nowMs
    return toAccept(state, out, now, attempt, nowMs)
  }
  if (attempt.phase === 'witness-read') swap(state, out, now, attempt, answer.register, nowMs)
}

/**
 * Of a version before the highest that is known, or of an incarnation before the one that was seen in the seat: read before that was written, or
 * restored from a backup. A newer incarnation comes with a newer epoch.
 */
export function isOlderThanSeen(state: State, register: Register): boolean {
  const { witnessSeen: seen, membership } = state.durable
  if (seen?.incarnation === register.incarnation) return register.version < seen.version
  return isSeatSeen(state) && membership !== null && register.membership.epoch <= membership.epoch
}

/** Whether the register was ever seen in the incarnation that has the witness's seat. */
export const isSeatSeen = ({ durable: { witnessSeen, membership } }: State): boolean =>
  witnessSeen !== null && witnessSeen.incarnation === membership?.witness?.incarnation

function swap(state: State, out: Outbox, now: Membership, attempt: Attempt, register: Register, nowMs: number): void {
  if (register.incarnation !== now.witness?.incarnation || state.process.witness.isStale)
    return end(state, out, attempt, 'the witness register is another one', nowMs)
  if (register.membership.epoch > now.epoch) {
    learn(state, out, register.membership, nowMs)
    return
  }
  // On a register that was restored to that very version the swap would hold.
  if (isOlderThanSeen(state, register))
    return end(state, out, attempt, 'the answer of the witness is older than what is known of it', nowMs)
  const accepted = register.accepted
  // What it holds may have been chosen: it is not exchanged for a value of an epoch before it.
  if (accepted && accepted.membership.epoch > attempt.proposal.epoch)
    return end(state, out, attempt, 'the witness has a forced value, which comes first', nowMs)
  if (accepted && accepted.membership.epoch === attempt.proposal.epoch) {
    if (compareBallots(accepted.ballot, attempt.ballot) >= 0) {
      raiseRound(state, out, accepted.ballot.round)
      return end(state, out, attempt, 'the witness has a higher ballot', nowMs)
    }
    if (attempt.ruledOut === 'ifWitnessHoldsNone')
      return end(state, out, attempt, 'the witness has a value, too: what was found may have been chosen', nowMs)
    if (attempt.ruledOut === 'no') adopt(attempt, accepted.ballot, accepted.membership)
    if (memberOf(attempt.value, state.self.node)?.standing === 'fenced')
      return end(
        state,
        out,
        attempt,
        'the witness has a value that fences this node: others finish it',
        nowMs,
        OTHERS_FINISH_LINGERS * state.timings.lingerMs,
      )
  }
  const witness = witnessVoter(register.incarnation)
  // Whom it fences may have promised, but never accepts it: to be accepted by too few makes it undecidable.
  const never = fencedVoters(attempt.value)
  const has = (voter: VoterKey): boolean => voter === witness || (attempt.promises.has(voter) && !never.has(voter))
  if (!isDecidedBy(now, attempt.value, has)) return end(state, out, attempt, 'no majority for the value that the witness has', nowMs)
  attempt.phase = 'witness-swap'
  attempt.phaseAtMs = nowMs
  attempt.witnessRequestId = requestId(state, nowMs)
  askWitness(state, out, {
    kind: 'swap',
    id: attempt.witnessRequestId,
    expectedVersion: register.version,
    register: { incarnation: register.incarnation, membership: now, accepted: { ballot: attempt.ballot, membership: attempt.value } },
  })
}

function toAccept(state: State, out: Outbox, now: Membership, attempt: Attempt, nowMs: number): void {
  attempt.phase = 'accept'
  attempt.phaseAtMs = nowMs
  for (const node of voterNodes(now, attempt.value))
    send(state, out, node, { kind: 'accept', ballot: attempt.ballot, membership: attempt.value })
}

export function onAccepted(state: State, out: Outbox, voter: VoterKey, message: AcceptedAnswer, nowMs: number): void {
  const { attempt } = state.epoch
  if (!attempt || attempt.phase !== 'accept' || compareBallots(attempt.ballot, message.ballot) !== 0) return
  attempt.accepts.add(voter)
  advance(state, out, nowMs)
}

function advanceAccept(state: State, out: Outbox, now: Membership, attempt: Attempt, nowMs: number): void {
  const has = (voter: VoterKey): boolean => attempt.accepts.has(voter)
  if (!isDecidedBy(now, attempt.value, has)) return
  const fenced = newlyFenced(now, attempt.value)
  if (fenced.length > 0) note(out, 'fence-chosen', describe(now, attempt.value), fenced)
  const chosen = attempt.value
  const { swappedAtMs } = attempt
  learn(state, out, chosen, nowMs)
  // From that swap on the register never held another value for this epoch: its door is closed since then. After learning, which makes the fence.
  if (swappedAtMs !== null)
    for (const node of fenced) {
      const fence = state.epoch.fences.get(node)
      if (fence) fence.witnessDoorAtMs = swappedAtMs
    }
  for (const member of chosen.members)
    if (member.node !== state.self.node) send(state, out, member.node, { kind: 'learn', membership: chosen })
}
