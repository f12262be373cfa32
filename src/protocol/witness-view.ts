/** The witness as a voter: acks by counted reads, teaching it what was learned, and telling an old register (docs/protocol/choosing.md, "The witness"). Pure. */
import { digestOf, isSuccessor, type Membership, memberOf, witnessVoter } from './membership.ts'
import type { Register, WitnessAnswer } from './messages.ts'
import { isHeard, rankOf } from './contact.ts'
import { declareConflict, learn } from './learning.ts'
import { askWitness, changeDurable, note, type Outbox } from './outbox.ts'
import { addGrant } from './permit.ts'
import { isOlderThanSeen, isSeatSeen, onWitnessAnswer, requestId } from './proposer.ts'
import type { State } from './state.ts'

/** A request that is not answered within this many read periods is forgotten. */
const FORGET_PERIODS = 8

export function pollWitness(state: State, out: Outbox, nowMs: number): void {
  const { witness } = state.process
  const membership = state.durable.membership
  if (!membership?.witness) return
  const everyMs = state.timings.witnessReadMs
  if (nowMs - witness.askedAtMs < everyMs) return
  witness.askedAtMs = nowMs
  for (const [id, { sentAtMs }] of witness.pending) if (nowMs - sentAtMs > everyMs * FORGET_PERIODS) witness.pending.delete(id)
  askWitness(state, out, { kind: 'read', id: requestId(state, nowMs, 'ack'), epoch: membership.epoch, digest: digestOf(membership) })
}

export function onWitness(state: State, out: Outbox, answer: WitnessAnswer, nowMs: number): void {
  const { witness } = state.process
  const request = witness.pending.get(answer.id)
  if (!request) return
  witness.pending.delete(answer.id)
  if (answer.kind === 'failed') {
    witness.failure = answer.reason
    witness.currentSinceMs = Infinity
  } else {
    witness.failure = null
    witness.answeredAtMs = Math.max(witness.answeredAtMs, request.sentAtMs)
  }
  if (answer.kind === 'register' || answer.kind === 'conflict') {
    if (isOvertaken(state, answer.register, request.sentAtMs)) witness.currentSinceMs = Math.min(witness.currentSinceMs, nowMs)
    else {
      see(state, out, answer.register, nowMs)
      if (answer.kind === 'register' && answer.isCounted) onCountedRead(state, answer.register, request.sentAtMs)
    }
  } else if (answer.kind === 'swapped') rememberVersion(state, out, witness.register?.incarnation ?? '', answer.version, nowMs)
  if (request.purpose === 'attempt') onWitnessAnswer(state, out, answer, nowMs)
}

/**
 * Asked before somebody told of a newer version: it was written meanwhile, or the register went back. The next read tells which; until then the
 * answer neither counts nor accuses.
 */
const isOvertaken = (state: State, register: Register, sentAtMs: number): boolean =>
  isOlderThanSeen(state, register) && sentAtMs < state.process.witness.seenAtMs

function onCountedRead(state: State, register: Register, sentAtMs: number): void {
  const { witness } = state.process
  const membership = state.durable.membership
  const seat = membership?.witness
  if (!membership || !seat || witness.isStale || register.incarnation !== seat.incarnation) return
  if (register.membership.epoch !== membership.epoch || digestOf(register.membership) !== digestOf(membership)) return
  if (register.accepted && memberOf(register.accepted.membership, state.self.node)?.standing === 'fenced') return
  witness.ackedAtMs = Math.max(witness.ackedAtMs, sentAtMs)
  if (seat.isVoting) addGrant(state.epoch.grants, witnessVoter(seat.incarnation), sentAtMs, state.timings.permitMs)
}

/** Takes in a register: what it has learned, what it has accepted, and whether it is the one that was known before. */
function see(state: State, out: Outbox, register: Register, nowMs: number): void {
  const { witness } = state.process
  const membership = state.durable.membership
  if (!membership) return
  if (register.membership.clusterId !== membership.clusterId) {
    witness.failure = 'it serves another cluster'
    return
  }
  if (isOlderThanSeen(state, register)) {
    if (!witness.isStale)
      note(
        out,
        'witness-stale',
        `the witness went back from version ${nameOf(state.durable.witnessSeen)} to ${nameOf(register)}: it was restored from a backup and loses its vote`,
      )
    // Counted anew after each failed read as well, or it never gets its vote back.
    if (!witness.isStale || witness.currentSinceMs === Infinity) witness.currentSinceMs = nowMs
    witness.isStale = true
    witness.register = register
    state.epoch.registerAcceptedSinceMs = Infinity
    // Still believed where it only adds: a higher epoch was chosen once, whoever tells of it.
    if (register.membership.epoch > membership.epoch) learn(state, out, register.membership, nowMs)
    return
  }
  rememberVersion(state, out, register.incarnation, register.version, nowMs)
  witness.register = register
  if (witness.isStale) {
    witness.isStale = false
    witness.currentSinceMs = nowMs
  }
  const seat = membership.witness
  if (register.membership.epoch > membership.epoch) return learn(state, out, register.membership, nowMs)
  if (register.membership.epoch === membership.epoch) {
    if (digestOf(register.membership) !== digestOf(membership)) return declareConflict(state, out, register.membership)
    if (register.incarnation === seat?.incarnation) for (const fence of state.epoch.fences.values()) fence.witnessDoorAtMs ??= nowMs
  }
  if (witness.currentSinceMs === Infinity) witness.currentSinceMs = nowMs
  const isPending = register.accepted !== null && register.accepted.membership.epoch > membership.epoch
  if (!isPending) state.epoch.registerAcceptedSinceMs = Infinity
  else if (state.epoch.registerAcceptedSinceMs === Infinity) state.epoch.registerAcceptedSinceMs = nowMs
}

const nameOf = (register: Pick<Register, 'incarnation' | 'version'> | null): string =>
  register ? `${register.incarnation}.${register.version}` : ''

function rememberVersion(state: State, out: Outbox, incarnation: string, version: number, nowMs: number): void {
  const seen = state.durable.witnessSeen
  if (seen?.incarnation === incarnation && version <= seen.version) return
  state.process.witness.seenAtMs = nowMs
  // Writing each version to disk would cost an fsync a swap; swaps are rare.
  changeDurable(state, out, { witnessSeen: { incarnation, version } })
}

/** What a peer remembers of the register counts as our own memory: a backup is told even by who never saw the newer version. */
export function hearWitnessVersion(state: State, out: Outbox, version: number, nowMs: number): void {
  const incarnation = state.durable.membership?.witness?.incarnation
  if (incarnation !== undefined && version >= 0) rememberVersion(state, out, incarnation, version, nowMs)
}

/** Tells the register the epoch that this node has learned; the first by name sooner, so that one swap is enough. */
export function teachWitness(state: State, out: Outbox, nowMs: number): void {
  const membership = state.durable.membership
  const { register, isStale } = state.process.witness
  if (!membership?.witness || state.brakes.isDryRun || memberOf(membership, state.self.node)?.standing === 'fenced') return
  if ([...state.process.witness.pending.values()].some((request) => request.purpose === 'teach')) return
  if (!register) return
  // Once: one that was born already and is an older one again was restored, and what it held may have been chosen.
  const isReborn = register.incarnation !== membership.witness.incarnation && membership.witness.isVoting && !isSeatSeen(state)
  // What was read before somebody saw a newer one: on a register restored to that very version the swap would hold, and count it up to what is
  // known of, as if it had never gone back.
  if (!isReborn && (isStale || isOlderThanSeen(state, register) || register.membership.epoch >= membership.epoch)) return
  const rank = rankOf(state, membership, nowMs)
  if (nowMs - state.epoch.learnedAtMs < rank * state.timings.heartbeatMs) return
  const { accepted } = register
  askWitness(state, out, {
    kind: 'swap',
    id: requestId(state, nowMs, 'teach'),
    expectedVersion: register.version,
    register: {
      incarnation: membership.witness.incarnation,
      membership,
      // Only what may still follow: a forced value of an epoch before would stay for ever, its number is far ahead.
      accepted: accepted && isSuccessor(membership, accepted.membership) ? accepted : null,
    },
  })
}

export const isWitnessInReach = (state: State, nowMs: number): boolean =>
  nowMs - state.process.witness.answeredAtMs <= 3 * state.timings.witnessReadMs

/** Rooms that still vote and that this agent hears: the witness may lose its vote only while all of them are in contact. */
export function hearsEveryRoom(state: State, membership: Membership, nowMs: number): boolean {
  const rooms = new Map<string, boolean>()
  for (const { node, room, standing, isInMaintenance } of membership.members) {
    if (standing === 'fenced' || isInMaintenance) continue
    rooms.set(room, (rooms.get(room) ?? false) || isHeard(state, node, nowMs))
  }
  return [...rooms.values()].every(Boolean)
}
