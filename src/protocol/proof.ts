/** Proof that a fenced node has stopped (docs/protocol/proofs.md). Pure; this node's monotonic ms. */
import type { NodeId } from './ids.ts'
import { isMajority, memberOf, type VoterKey, weightsOf } from './membership.ts'
import type { DoorStatement } from './messages.ts'
import { contactOf, lastLifeMs } from './contact.ts'
import type { State } from './state.ts'
import { silentAfterMs } from './timings.ts'

export type NodeProof =
  | { readonly isProved: true; readonly kind: 'timed' | 'killed' | 'human'; readonly sinceMs: number; readonly text: string }
  | { readonly isProved: false; readonly reason: string; readonly readyAtMs: number | null }

/** Notes a voter's answer on this node's clock. The answer was under way for a while: counting from its arrival only adds safety. */
export function addDoors(state: State, voter: VoterKey, doors: readonly DoorStatement[], nowMs: number): void {
  const { clockRateError: r } = state.timings
  // What is certainly past on this clock: both clocks may be off, in opposite directions.
  const atMs = (agoMs: number): number => nowMs - Math.max(0, agoMs) * ((1 - r) / (1 + r))
  for (const { node, ackedAgoMs, installedAgoMs, watchdogMs } of doors) {
    const fence = state.epoch.fences.get(node)
    if (!fence) continue
    const ackedAtMs = atMs(ackedAgoMs)
    fence.floorMs = Math.min(fence.floorMs, atMs(installedAgoMs))
    const before = fence.doors.get(voter)
    // The door is closed: what was said first, at the latest, stays true. A watchdog that was once withdrawn stays withdrawn.
    fence.doors.set(
      voter,
      before
        ? { ackedAtMs: Math.min(before.ackedAtMs, ackedAtMs), watchdogMs: worse(before.watchdogMs, watchdogMs) }
        : { ackedAtMs, watchdogMs },
    )
  }
}

const worse = (a: number | null, b: number | null): number | null => (a === null || b === null ? null : Math.max(a, b))

/** What proves that everything on `node` has stopped, or why that is not known yet. */
export function nodeProof(state: State, node: NodeId, nowMs: number): NodeProof {
  const membership = state.durable.membership
  const member = membership && memberOf(membership, node)
  if (!member || member.standing !== 'fenced') return { isProved: false, reason: `${node} is not in a committed fence`, readyAtMs: null }
  const contact = contactOf(state, node)
  // Whoever shows life again since the word was given has to say itself that it killed: a forced epoch may be finished late.
  // And who has not listened for so long itself cannot say that nothing was heard.
  if (node !== state.self.node && nowMs - Math.max(lastLifeMs(contact), state.process.awakeSinceMs) >= state.timings.detectMs) {
    const human = state.epoch.fences.get(node)?.confirmedBy
    if (human !== undefined) return { isProved: true, kind: 'human', sinceMs: nowMs, text: `${human} confirmed ${node} dead` }
    const confirmed = membership.fenceVotes.find(({ epoch }) => epoch === member.lastFence)?.confirmed
    if (confirmed?.nodes.includes(node))
      return { isProved: true, kind: 'human', sinceMs: nowMs, text: `${confirmed.by} confirmed ${node} dead in a forced epoch` }
  }
  const { statement } = contact
  if (statement && contact.incarnation === member.incarnation && statement.killedEpoch >= member.lastFence)
    return {
      isProved: true,
      kind: 'killed',
      sinceMs: contact.heardAtMs,
      text: `${node} says that it killed its workloads under epoch ${statement.killedEpoch}`,
    }
  // Another boot id is no proof: the boot that is known here may be older than one that had a permit before the fence.
  return timedProof(state, node, member.lastFence, nowMs)
}

function timedProof(state: State, node: NodeId, fenceEpoch: number, nowMs: number): NodeProof {
  const votes = state.durable.membership?.fenceVotes.find(({ epoch }) => epoch === fenceEpoch)?.votes
  const fence = state.epoch.fences.get(node)
  if (!votes || !fence) return { isProved: false, reason: `the votes before epoch ${fenceEpoch} are not known here`, readyAtMs: null }
  const weights = weightsOf(votes)
  const closed: { voter: VoterKey; ackedAtMs: number; watchdogMs: number }[] = []
  let unprotected = 0
  for (const voter of weights.keys()) {
    const door = fence.doors.get(voter)
    if (!door) continue
    if (door.watchdogMs === null) unprotected += 1
    else closed.push({ voter, ackedAtMs: door.ackedAtMs, watchdogMs: door.watchdogMs })
  }
  // The register keeps no word of watchdogs: its door only helps to end the permit. A withdrawal needs a majority without it.
  const { floorMs, witnessDoorAtMs } = fence
  const witness = [...weights.keys()].find((voter) => voter.startsWith('witness/'))
  if (witness && witnessDoorAtMs !== undefined) closed.push({ voter: witness, ackedAtMs: witnessDoorAtMs, watchdogMs: 0 })
  closed.sort((a, b) => a.ackedAtMs - b.ackedAtMs)
  const chosen = new Set<VoterKey>()
  let ackedAtMs = floorMs
  let watchdogMs = 0
  for (const door of closed) {
    chosen.add(door.voter)
    ackedAtMs = Math.max(ackedAtMs, door.ackedAtMs)
    watchdogMs = Math.max(watchdogMs, door.watchdogMs)
    if (!isMajority(weights, (voter) => chosen.has(voter))) continue
    const readyAtMs = ackedAtMs + silentAfterMs(state.timings, watchdogMs)
    if (nowMs >= readyAtMs)
      return {
        isProved: true,
        kind: 'timed',
        sinceMs: readyAtMs,
        text: `${node} was last acked ${Math.round(nowMs - ackedAtMs)} ms ago and its watchdog fires after ${watchdogMs} ms`,
      }
    return {
      isProved: false,
      reason: `waiting until the permit of ${node} and its watchdog (${watchdogMs} ms) have certainly run out`,
      readyAtMs,
    }
  }
  const reason =
    unprotected > 0
      ? `${node} has no working watchdog that a majority knows of: its fence waits for another proof (freeze mode, its own statement that it killed, or an operator: kubectl annotate node ${node} roomfence.io/confirm-dead=fence-${fenceEpoch},YOUR-NAME)`
      : `collecting from the voters when they last acked ${node}`
  return { isProved: false, reason, readyAtMs: null }
}

/** Whether more answers of voters are wanted for a timed proof of any fenced node. */
export function wantsDoors(state: State): boolean {
  const membership = state.durable.membership
  if (!membership) return false
  return membership.members.some((member) => {
    if (member.standing !== 'fenced') return false
    const votes = membership.fenceVotes.find(({ epoch }) => epoch === member.lastFence)?.votes
    const fence = state.epoch.fences.get(member.node)
    if (!votes || !fence) return false
    const has = (voter: VoterKey): boolean =>
      fence.doors.has(voter) || (voter.startsWith('witness/') && fence.witnessDoorAtMs !== undefined)
    return !isMajority(weightsOf(votes), has)
  })
}
