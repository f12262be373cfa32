/** Permits: a node's right to run its workloads (docs/protocol/permit.md). Pure; times are this node's monotonic milliseconds. */
import type { VoterKey, Votes } from './membership.ts'

/** Until when each voter's last ack counts: the moment its heartbeat was *sent*, plus the permit's length. */
export type Grants = ReadonlyMap<VoterKey, number>

/**
 * The last moment at which the grants still valid are a majority of the epoch's votes.
 *
 * @returns monotonic ms; `-Infinity` if all grants together are none.
 */
export function permitUntilMs(votes: Votes, grants: Grants): number {
  let total = 0
  const held: { untilMs: number; weight: number }[] = []
  for (const [voter, weight] of votes) {
    total += weight
    const untilMs = grants.get(voter)
    if (untilMs !== undefined) held.push({ untilMs, weight })
  }
  held.sort((a, b) => b.untilMs - a.untilMs)
  let present = 0
  for (const { untilMs, weight } of held) {
    present += weight
    if (present * 2 > total) return untilMs
  }
  return -Infinity
}

/** What an ack adds, in place. An older ack that arrives late never shortens a grant. */
export function addGrant(grants: Map<VoterKey, number>, voter: VoterKey, sentAtMs: number, permitMs: number): void {
  const untilMs = sentAtMs + permitMs
  if (untilMs > (grants.get(voter) ?? -Infinity)) grants.set(voter, untilMs)
}
