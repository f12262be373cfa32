/** May this node run, may it pet its watchdog, and what must its containment be (docs/protocol/permit.md, docs/protocol/containment.md). Pure. */
import { isMajority, memberOf, nodeVoter, votesOf } from './membership.ts'
import { changeDurable, contain, note, type Outbox } from './outbox.ts'
import { permitUntilMs } from './permit.ts'
import type { BrokenInvariant, ContainmentLevel } from './process.ts'
import type { Input, State } from './state.ts'
import { quarantineMs } from './timings.ts'

/** Until when this node may run, monotonic ms; `-Infinity`: it may not. */
export function mayRunUntilMs(state: State): number {
  return isInQuarantine(state) ? -Infinity : grantedUntilMs(state)
}

function grantedUntilMs(state: State): number {
  const membership = state.durable.membership
  if (!membership || state.process.broken || state.epoch.hasConflict || mustKill(state)) return -Infinity
  const member = memberOf(membership, state.self.node)
  if (member?.incarnation !== state.self.incarnation) return -Infinity
  return Math.max(permitUntilMs(votesOf(membership), state.epoch.grants), state.epoch.carriedUntilMs)
}

export const hasPermit = (state: State, nowMs: number): boolean => mayRunUntilMs(state) > nowMs

/** What this agent knows is on disk, and nothing says that it is wrong: others may act on it. */
export const isReliable = ({ disk, process }: State): boolean => process.broken === undefined && disk.persistedVersion >= disk.version

/** Fenced now, or fenced in an epoch that it skipped and has not killed for. */
export function mustKill(state: State): boolean {
  const membership = state.durable.membership
  const member = membership && memberOf(membership, state.self.node)
  if (!member) return false
  return member.standing === 'fenced' || (member.lastFence > 0 && member.lastFence > state.durable.killedEpoch)
}

/**
 * Let back, but not yet for so long that everyone who does not know of it has lost its permit, and what it last ordered is done: such an agent
 * still takes this node's word of its kill for a proof, and carries the fence out.
 */
function isInQuarantine(state: State): boolean {
  const membership = state.durable.membership
  const member = membership && memberOf(membership, state.self.node)
  return !!member && member.standing !== 'fenced' && member.lastFence > 0 && member.lastFence > state.durable.freedEpoch
}

/**
 * Counts from the first majority of acks, not from the learning: only then has a majority learned the un-fence, and nobody who has not can be
 * acked by one any more.
 */
function reviewQuarantine(state: State, out: Outbox, nowMs: number): void {
  const membership = state.durable.membership
  const member = membership && memberOf(membership, state.self.node)
  if (!member || !isInQuarantine(state) || grantedUntilMs(state) <= nowMs) return
  if (state.process.quarantine?.lastFence !== member.lastFence) {
    state.process.quarantine = { lastFence: member.lastFence, ackedAtMs: nowMs, askedAtMs: -Infinity }
    const seconds = (quarantineMs(state.timings) / 1_000).toFixed(1)
    note(out, 'quarantine', `in quarantine for ${seconds} s, until whatever is still done for its fence has certainly ended`, [member.node])
  }
  const { timings } = state
  const { quarantine } = state.process
  if (nowMs - quarantine.ackedAtMs < quarantineMs(timings) || nowMs - quarantine.askedAtMs < 2 * timings.heartbeatMs) return
  // What was deleted here meanwhile may run elsewhere by now, and a kubelet that was cut off from the API server starts it again all the same.
  if (quarantine.askedAtMs === -Infinity)
    note(out, 'quarantine', 'the quarantine is over; it runs again when the API server says that what is alive here belongs here', [
      member.node,
    ])
  quarantine.askedAtMs = nowMs
  out.push({ kind: 'check-bound', lastFence: quarantine.lastFence })
}

/** Looked up after the wait, so that nothing which was done for the fence comes later. */
export function onBound(state: State, out: Outbox, lastFence: number, nowMs: number): void {
  if (state.process.quarantine?.lastFence !== lastFence || state.process.quarantine.askedAtMs === -Infinity || !isInQuarantine(state))
    return
  changeDurable(state, out, { freedEpoch: lastFence })
  reviewContainment(state, out, nowMs)
}

function targetLevel(state: State, nowMs: number): ContainmentLevel {
  if (mustKill(state)) return 'kill'
  if (!state.durable.membership) return state.process.isFreshBoot ? 'pause' : 'none'
  // A room that was declared dead and boots may have all the acks of its old epoch before it hears of the forced one.
  if (state.process.isFreshBoot && !state.process.hasHadPermit && nowMs - state.process.startedAtMs < state.timings.detectMs) return 'pause'
  if (hasPermit(state, nowMs)) return 'none'
  if (isInQuarantine(state)) return 'pause'
  // An agent that was restarted on a running node finds workloads whose permit it cannot know: it asks before it pauses, and does not pet.
  // Once contained it stays so until a permit: an un-fence within the grace must not free it.
  const isStarting =
    !state.process.isFreshBoot &&
    state.process.desired === 'none' &&
    !state.process.hasHadPermit &&
    !state.epoch.hasConflict &&
    nowMs - state.process.startedAtMs < state.timings.restartGraceMs
  return isStarting ? 'none' : 'pause'
}

/** Brings containment in line with the permit. Called at every tick and after whatever may have changed it. */
export function reviewContainment(state: State, out: Outbox, nowMs: number): void {
  reviewQuarantine(state, out, nowMs)
  const level = targetLevel(state, nowMs)
  if (level === 'none' && !state.process.hasHadPermit && hasPermit(state, nowMs)) {
    state.process.hasHadPermit = true
    if (state.durable.bootId !== state.self.bootId) changeDurable(state, out, { bootId: state.self.bootId })
    // The process before this one may have paused what runs here, and died.
    if (state.process.desired === 'none') contain(out, 'none')
  }
  if (level !== state.process.desired) {
    const before = state.process.desired
    state.process.desired = level
    state.process.desiredSinceMs = nowMs
    state.process.contained = { level: 'none', isVerified: false }
    contain(out, level)
    // A node that is un-fenced goes through a pause until its first acks: it had no permit to lose.
    if (level === 'pause' && before === 'none') note(out, 'permit-lost', 'the grants still valid are no majority: workloads are paused')
    if (level === 'kill')
      note(out, 'own-fence', `fenced in epoch ${state.durable.membership?.epoch}: workloads are killed`, [state.self.node])
    if (level === 'none' && before !== 'none') note(out, 'permit-regained', 'a majority acked: workloads go on')
    return
  }
  const isVerified = state.process.contained.level === level && state.process.contained.isVerified
  if (level === 'kill' && isVerified) noteKilled(state, out)
  if (level !== 'none' && !isVerified) rebootIfLate(state, out, nowMs)
}

function rebootIfLate({ process, timings }: State, out: Outbox, nowMs: number): void {
  if (nowMs - process.desiredSinceMs <= timings.killMs) return
  process.desiredSinceMs = nowMs
  out.push({ kind: 'reboot', reason: `${process.desired} was not verified within ${timings.killMs} ms` })
}

/** An error of this program: what it knows is worth nothing any more, and a pause is what never does harm. */
export function breakDown(state: State, broken: BrokenInvariant, nowMs: number): Outbox {
  const out: Outbox = []
  const { process } = state
  process.broken = broken
  process.desired = 'pause'
  process.desiredSinceMs = nowMs
  process.contained = { level: 'none', isVerified: false }
  note(
    out,
    'invariant-broken',
    `an error of roomfence itself, "${broken.invariant}": ${broken.text}. This node is paused until its agent is restarted; please report this line`,
  )
  contain(out, 'pause')
  return out
}

/** All that a broken process still does: it holds its pause, by which the watchdog is petted. */
export function stepBroken(state: State, input: Input, nowMs: number): Outbox {
  const out: Outbox = []
  const { process } = state
  if (input.kind === 'contained' && input.level === process.desired)
    process.contained = { level: input.level, isVerified: input.isVerified }
  else if (input.kind === 'watchdog') process.watchdogMs = input.timeoutMs
  else if (input.kind === 'leaving') process.isLeaving = true
  else if (input.kind === 'tick' && !process.contained.isVerified) rebootIfLate(state, out, nowMs)
  return out
}

/** Nothing was started since the kill was verified, so it counts under every epoch learned meanwhile. */
function noteKilled(state: State, out: Outbox): void {
  const { membership, killedEpoch } = state.durable
  if (!membership || killedEpoch >= membership.epoch) return
  changeDurable(state, out, { killedEpoch: membership.epoch })
  state.process.heartbeatAtMs = -Infinity
}

/**
 * Whether the watchdog may be petted at this very moment; ask immediately before each pet. Between the end of the permit and a verified
 * pause nobody pets.
 */
export function mayPet(state: State, nowMs: number): boolean {
  if (state.process.desired === 'none') return hasPermit(state, nowMs)
  return state.process.contained.level === state.process.desired && state.process.contained.isVerified
}

/**
 * Whether the watchdog may be closed: the withdrawal of its protection was acked by a majority, or nothing can run anyway. Its own vote counts: no
 * proof of its end is ever made of its own word about its door, so each has a voter in it that acked.
 */
export function mayCloseWatchdog(state: State): boolean {
  const membership = state.durable.membership
  if (!membership) return true
  if (!state.process.withdrawal) return false
  const self = nodeVoter(state.self.node, state.self.incarnation)
  const { ackedBy } = state.process.withdrawal
  return isMajority(votesOf(membership), (voter) => voter === self || ackedBy.has(voter))
}

/** A voter counts its own vote while its door to itself is open: it learns a fence of itself, it never accepts one. */
export function grantSelf(state: State): void {
  const membership = state.durable.membership
  if (!membership) return
  const self = nodeVoter(state.self.node, state.self.incarnation)
  if (votesOf(membership).has(self)) state.epoch.grants.set(self, Infinity)
}
