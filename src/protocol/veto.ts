/** What speaks against a change: the reasons for which a voter refuses to prepare it (docs/protocol/choosing.md, "Veto"). Pure. */
import type { NodeId } from './ids.ts'
import { fencedNodes, type Membership, memberOf, newlyFenced, votesOf } from './membership.ts'
import { contactOf, signOfLife } from './contact.ts'
import type { State } from './state.ts'

/** @returns why this voter refuses, or null. Positive evidence of life always vetoes; unknown is never read as dead. */
export function vetoOf(state: State, now: Membership, next: Membership, nowMs: number): string | null {
  if (state.brakes.isDryRun) return `${state.self.node} is in dry run: it decides and records, and votes for nothing`
  if (next.clusterId !== now.clusterId) return 'another cluster'
  const fenced = newlyFenced(now, next)
  const reasons = [
    fenced.length > 0 ? fenceVeto(state, now, next, fenced, nowMs) : null,
    unfenceVeto(state, now, next, nowMs),
    witnessVeto(state, now, next, nowMs),
    joinVeto(state, now, next, nowMs),
    forcedVeto(now, next, fenced),
    maintenanceVeto(now, next, fenced),
  ]
  return reasons.find((reason) => reason !== null) ?? null
}

function fenceVeto(state: State, now: Membership, next: Membership, fenced: readonly NodeId[], nowMs: number): string | null {
  const { detectMs } = state.timings
  if (fenced.includes(state.self.node)) return `${state.self.node} is alive and never agrees to its own fence`
  if (now.fencingPausedBy !== null && next.cause.kind !== 'forced')
    return `fencing is suspended by ${now.fencingPausedBy}: roomfence resume`
  const share = fencedNodes(next).length / now.members.length
  if (share > state.brakes.maxFencedShare)
    return `${fencedNodes(next).length} of ${now.members.length} nodes would be fenced, more than the share of ${state.brakes.maxFencedShare} that is allowed`
  const alive = roomBrake(next, fenced, state.brakes.maxFencedShareOfRoom)
  if (alive !== null && next.cause.kind !== 'forced') return alive
  if (nowMs - state.process.awakeSinceMs < detectMs)
    return `${state.self.node} has not listened for ${detectMs} ms yet (started or was late)`
  for (const node of fenced) {
    const life = signOfLife(state, node, nowMs)
    if (life)
      return life.over === 'heartbeats'
        ? `${state.self.node} heard ${node} ${life.agoMs} ms ago`
        : `${state.self.node} has a DRBD connection to ${node} that is up`
  }
  return null
}

/** A room that lives loses its nodes one by one only up to a share: what looks like many dead nodes is more often one broken switch. */
function roomBrake(next: Membership, fenced: readonly NodeId[], share: number): string | null {
  for (const room of new Set(next.members.filter(({ node }) => fenced.includes(node)).map((member) => member.room))) {
    const members = next.members.filter((member) => member.room === room)
    const out = members.filter(({ standing }) => standing === 'fenced').length
    if (out < members.length && out > share * members.length)
      return `${out} of ${members.length} nodes of room ${room}, which lives, would be fenced one by one: more than the share of ${share} that is allowed`
  }
  return null
}

/** Nodes that come back must have killed (or rebooted and found nothing running) under their fence, and say so now; those that vote again are in sync. */
function unfenceVeto(state: State, now: Membership, next: Membership, nowMs: number): string | null {
  for (const member of next.members) {
    const before = memberOf(now, member.node)
    if (!before || before.standing === member.standing || member.standing === 'fenced') continue
    if (member.node === state.self.node && before.standing === 'observing') continue
    // Who goes into maintenance need not answer: it loses a vote, and gains nothing.
    if (member.isInMaintenance && before.standing === 'voting') continue
    const { statement, heardAtMs, incarnation, inSyncSinceMs } = contactOf(state, member.node)
    const isFresh = nowMs - heardAtMs < state.timings.detectMs && incarnation === member.incarnation
    if (!statement || !isFresh) return `${state.self.node} does not hear ${member.node} in incarnation ${member.incarnation}`
    if (before.standing === 'fenced') {
      if (member.standing !== 'observing') return `${member.node} must first run without a vote`
      if (statement.killedEpoch < before.lastFence)
        return `${member.node} has not said that it killed its workloads under epoch ${before.lastFence} or later`
      // Another incarnation that loses its vote need not be in sync: it could not be while its peers are fenced.
    } else if (member.standing === 'voting' && (!statement.isInSync || nowMs - inSyncSinceMs < state.timings.settleMs))
      return `${member.node} is not in sync, or not for long enough`
  }
  return null
}

function witnessVeto(state: State, now: Membership, next: Membership, nowMs: number): string | null {
  const wasVoting = now.witness?.isVoting === true
  const isVoting = next.witness?.isVoting === true
  if (wasVoting === isVoting) return null
  const ackedAgoMs = nowMs - state.process.witness.ackedAtMs
  if (wasVoting && !state.process.witness.isStale && ackedAgoMs < state.timings.witnessRecentMs)
    return `the witness acked ${state.self.node} ${Math.round(ackedAgoMs)} ms ago`
  if (isVoting && nowMs - state.process.witness.answeredAtMs > state.timings.witnessRecentMs)
    return `${state.self.node} does not reach the witness`
  return null
}

/** Who is in maintenance is neither dead nor alive: it is not fenced but by a person's word, and has no vote. */
function maintenanceVeto(now: Membership, next: Membership, fenced: readonly NodeId[]): string | null {
  // The witness alone is nobody: when it is restored there is no one to take its vote away and give it back.
  if ([...votesOf(next).keys()].every((voter) => voter.startsWith('witness/'))) return 'nobody would be left to vote'
  const voter = next.members.find(({ isInMaintenance, standing }) => isInMaintenance && standing === 'voting')
  if (voter) return `${voter.node} is in maintenance and has no vote`
  const worked = next.cause.kind === 'forced' ? undefined : fenced.find((node) => memberOf(now, node)?.isInMaintenance)
  return worked === undefined ? null : `${worked} is in maintenance`
}

/** A person's word fences those whom it names and changes nothing else. */
function forcedVeto(now: Membership, next: Membership, fenced: readonly NodeId[]): string | null {
  if (next.cause.kind !== 'forced') return null
  const named = new Set(next.cause.nodes)
  const isNamed = fenced.length === named.size && fenced.every((node) => named.has(node))
  const isElseSame = now.members.every(({ node, standing }) => named.has(node) || memberOf(next, node)?.standing === standing)
  return isNamed && isElseSame ? null : 'a forced epoch fences the nodes that an operator named, and changes nothing else'
}

function joinVeto(state: State, now: Membership, next: Membership, nowMs: number): string | null {
  for (const member of next.members) {
    const before = memberOf(now, member.node)
    if (before?.incarnation === member.incarnation) continue
    if (member.standing === 'voting') return `${member.node} is new and must first run without a vote`
    if (before && member.standing !== 'observing' && before.standing !== 'fenced')
      return `${member.node} changes its incarnation and its standing at once`
    const contact = contactOf(state, member.node)
    if (before && contact.incarnation === before.incarnation && nowMs - contact.heardAtMs < state.timings.detectMs)
      return `${member.node} is alive in incarnation ${before.incarnation}`
  }
  return null
}
