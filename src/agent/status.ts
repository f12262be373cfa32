/** What this agent would tell a person: the status page's data, and the gauges. Pure reading. */
import type { ApiReachability } from '../evidence/api-probe.ts'
import type { TransportStats } from '../evidence/transport.ts'
import type { Metrics } from '../observe/metrics.ts'
import { coordinator } from '../protocol/contact.ts'
import { digestOf, fencedNodes, votesOf } from '../protocol/membership.ts'
import { nodeProof } from '../protocol/proof.ts'
import { hasPermit, mayRunUntilMs } from '../protocol/running.ts'
import type { State } from '../protocol/state.ts'
import { isWitnessInReach } from '../protocol/witness-view.ts'

const INFINITE_SECONDS = 3600

const seconds = (ms: number): number => Math.round(Math.max(-INFINITE_SECONDS, Math.min(INFINITE_SECONDS, ms / 1000)) * 1000) / 1000

export function statusOf(
  state: State,
  nowMs: number,
  shell: { readonly underWay: readonly string[]; readonly isArmed: boolean; readonly api: ApiReachability },
): unknown {
  const { membership, accepted, killedEpoch } = state.durable
  return {
    node: state.self.node,
    room: state.self.room,
    incarnation: state.self.incarnation,
    bootId: state.self.bootId,
    epoch: membership?.epoch ?? null,
    digest: membership && digestOf(membership),
    cause: membership?.cause ?? null,
    isInstalled: state.epoch.isInstalled,
    fencingPausedBy: membership?.fencingPausedBy ?? null,
    members:
      membership?.members.map(({ node, room, standing, lastFence, isInMaintenance }) => ({
        node,
        room,
        standing,
        lastFence,
        isInMaintenance,
      })) ?? [],
    votes: membership ? Object.fromEntries(votesOf(membership)) : {},
    permitRemainingSeconds: seconds(mayRunUntilMs(state) - nowMs),
    containment: { desired: state.process.desired, ...state.process.contained },
    killedEpoch,
    hasConflict: state.epoch.hasConflict,
    brokenInvariant: state.process.broken ?? null,
    coordinator: coordinator(state, nowMs),
    peers: [...state.process.contacts]
      .filter(([node]) => node !== state.self.node)
      .map(([node, contact]) => ({
        node,
        heardSecondsAgo: seconds(nowMs - contact.heardAtMs),
        storageSecondsAgo: seconds(nowMs - contact.storageAtMs),
        epoch: contact.epoch,
        watchdogMs: contact.statement?.watchdogMs ?? null,
        killedEpoch: contact.statement?.killedEpoch ?? null,
        isInSync: contact.statement?.isInSync ?? null,
      })),
    witness: {
      seat: membership?.witness ?? null,
      ackedSecondsAgo: seconds(nowMs - state.process.witness.ackedAtMs),
      failure: state.process.witness.failure,
    },
    api: { isReachable: shell.api.isReachable ?? null, failure: shell.api.failure },
    watchdog: { isArmed: shell.isArmed, timeoutMs: state.process.watchdogMs },
    proposal: state.epoch.attempt ? { phase: state.epoch.attempt.phase, epoch: state.epoch.attempt.proposal.epoch } : null,
    accepted: accepted && { epoch: accepted.membership.epoch, cause: accepted.membership.cause },
    lastVeto: state.process.lastVeto,
    proofs: membership ? fencedNodes(membership).map((node) => ({ node, ...nodeProof(state, node, nowMs) })) : [],
    failovers: shell.underWay,
  }
}

/** Why this node is not ready, or null. */
export function unreadyReason(state: State, nowMs: number): string | null {
  if (!state.durable.membership) return 'no membership yet: run roomfence init'
  return hasPermit(state, nowMs) ? null : 'this node has no permit: its workloads are contained'
}

export function updateMetrics(
  metrics: Metrics,
  state: State,
  packets: TransportStats,
  storage: { readonly resources: number; readonly unprotected: number },
  nowMs: number,
): void {
  const { membership } = state.durable
  metrics.epoch.set(membership?.epoch ?? -1)
  metrics.isInstalled.set(state.epoch.isInstalled ? 1 : 0)
  metrics.permitRemaining.set(seconds(mayRunUntilMs(state) - nowMs))
  metrics.containmentVerified.set(state.process.desired !== 'none' && state.process.contained.isVerified ? 1 : 0)
  metrics.fencedNodes.set(membership ? fencedNodes(membership).length : 0)
  metrics.fencingSuspended.set(membership?.fencingPausedBy == null ? 0 : 1)
  metrics.nodesInMaintenance.set(membership?.members.filter(({ isInMaintenance }) => isInMaintenance).length ?? 0)
  metrics.conflict.set(state.epoch.hasConflict ? 1 : 0)
  metrics.invariantBroken.set(state.process.broken ? 1 : 0)
  for (const [node, contact] of state.process.contacts) {
    if (node === state.self.node) continue
    metrics.peerSilence.set({ peer: node }, seconds(nowMs - contact.heardAtMs))
    metrics.peerStorageConnected.set({ peer: node }, nowMs - contact.storageAtMs < state.timings.detectMs ? 1 : 0)
  }
  // The transport counts; the metrics follow it.
  metrics.packetsSent.reset()
  metrics.packetsSent.inc(packets.sent)
  metrics.packetsReceived.reset()
  metrics.packetsReceived.inc(packets.received)
  metrics.witnessReachable.set(isWitnessInReach(state, nowMs) ? 1 : 0)
  metrics.witnessVoting.set(membership?.witness?.isVoting === true ? 1 : 0)
  metrics.apiReachable.set(state.process.isApiReachable ? 1 : 0)
  metrics.storageResources.set(storage.resources)
  metrics.storageUnprotected.set(storage.unprotected)
}
